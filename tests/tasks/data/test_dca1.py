import hashlib
import io
import socket
import threading
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from dmic_gym.errors import DataError, InvalidInputError
from dmic_gym.tasks.data import DCA1, ImageFolder, Phantoms, load_dataset
from dmic_gym.tasks.data.dca1 import ARCHIVE, _publish, prepare

OFFICIAL_FOLDER = "Database_134_Angiograms/"


def pgm(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".pgm", pixels)[1].tobytes()


def database() -> dict[str, bytes]:
    """134 images made of small phantoms, named as in DCA1; their first pixel is the number."""
    files, phantoms = {}, Phantoms(4, 16)[:]
    for i in range(1, 135):
        phantom = phantoms[i % 4]
        assert phantom.mask is not None
        image = phantom.image.copy()
        image[0, 0] = i
        files[f"{i}.pgm"] = pgm(image)
        files[f"{i}_gt.pgm"] = pgm(phantom.mask.astype(np.uint8) * np.uint8(255))
    return files


FILES = database()


def zipped(files: Mapping[str, bytes], prefix: str = OFFICIAL_FOLDER) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(prefix + name, data)
    return packed.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write(folder: Path, files: Mapping[str, bytes] = FILES) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


class Server(ThreadingHTTPServer):
    """Serves `body` under every path; `cut` bytes of it are promised and not sent."""

    body = zipped(FILES)
    cut = 0
    status = 200
    requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{ARCHIVE}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        body = self.server.body
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) - self.server.cut])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_download_then_offline(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "new" / "root"
    folder = prepare(root, True, server.url, sha256(server.body))
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == FILES
    assert {p.name for p in root.iterdir()} == {folder.name, ARCHIVE}
    for download in (True, False):
        assert prepare(root, download, server.url, sha256(server.body)) == folder
        assert len(DCA1(root, "all", download)) == 134
    assert server.requests == 1


def test_kept_archive_is_unpacked_again_without_network(server: Server, tmp_path: Path) -> None:
    folder = prepare(tmp_path, True, server.url, sha256(server.body))
    folder.rename(tmp_path.parent / f"{tmp_path.name}-moved")
    assert prepare(tmp_path, True, server.url, sha256(server.body)) == folder
    assert server.requests == 1


def test_archive_placed_by_hand(tmp_path: Path) -> None:
    body = zipped(FILES, "")
    (tmp_path / ARCHIVE).write_bytes(body)
    assert len(list(prepare(tmp_path, False, "http://unused", sha256(body)).iterdir())) == 268
    other = tmp_path / "other"
    other.mkdir()
    (other / ARCHIVE).write_bytes(body[:-1])
    with pytest.raises(DataError, match="not the archive of DCA1: its SHA-256"):
        DCA1(other)
    with pytest.raises(DataError, match="is a file, not a folder; pass"):
        DCA1(other / ARCHIVE)


def test_wrong_hash_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not the archive of DCA1 and was not kept") as error:
        prepare(tmp_path, True, server.url, "0" * 64)
    assert server.url in str(error.value)
    assert sha256(server.body) in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_download_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.cut = 1000
    with pytest.raises(DataError, match=f"Could not download DCA1.*place it as .*{ARCHIVE}"):
        prepare(tmp_path, True, server.url, sha256(server.body))
    assert list(tmp_path.iterdir()) == []
    server.cut = 0
    assert prepare(tmp_path, True, server.url, sha256(server.body)).is_dir()


def test_missing_file_on_the_server(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(DataError, match="404"):
        prepare(tmp_path, True, server.url, sha256(server.body))
    assert list(tmp_path.iterdir()) == []


def test_unreachable_host_says_how_to_place_the_file(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/{ARCHIVE}"
        with pytest.raises(DataError) as error:
            prepare(tmp_path, True, url, "0" * 64)
    assert f"get {url} by other means" in str(error.value)
    assert f"place it as '{tmp_path / ARCHIVE}'" in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prefix", ["../../", "/", "a/../../../", "..\\..\\", "C:\\"])
def test_members_cannot_escape(tmp_path: Path, prefix: str) -> None:
    body = zipped(FILES, prefix)
    root = tmp_path / "a" / "b"
    root.mkdir(parents=True)
    (root / ARCHIVE).write_bytes(body)
    folder = prepare(root, False, "http://unused", sha256(body))
    written = {p for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {root / ARCHIVE, *(folder / name for name in FILES)}


def test_other_members_are_left_out(tmp_path: Path) -> None:
    extra = {"__MACOSX/._1.pgm": b"x", "readme.txt": b"x", "deep/er/x1.pgm": b"x"}
    body = zipped({**FILES, **extra})
    (tmp_path / ARCHIVE).write_bytes(body)
    folder = prepare(tmp_path, False, "http://unused", sha256(body))
    assert {p.name for p in folder.iterdir()} == set(FILES)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"not a zip", "Cannot unpack.*not a zip file"),
        (zipped({**FILES, "again/7.pgm": b"x"}), "Cannot unpack.*exists"),
        (zipped({k: v for k, v in FILES.items() if k != "7_gt.pgm"}), r"lacks 7_gt\.pgm"),
        (zipped({k: v for k, v in FILES.items() if not k.startswith("7")}), "of DCA1's 134"),
    ],
)
def test_bad_archive_leaves_no_folder(tmp_path: Path, body: bytes, cause: str) -> None:
    (tmp_path / ARCHIVE).write_bytes(body)
    with pytest.raises(DataError, match=cause):
        prepare(tmp_path, False, "http://unused", sha256(body))
    assert [p.name for p in tmp_path.iterdir()] == [ARCHIVE]


def test_another_process_was_faster(tmp_path: Path) -> None:
    done = write(tmp_path / "images")
    _publish(write(tmp_path / "scratch"), done)
    assert {p.name: p.read_bytes() for p in done.iterdir()} == FILES


def test_folder_in_the_way_is_named(tmp_path: Path) -> None:
    body = zipped(FILES)
    (tmp_path / ARCHIVE).write_bytes(body)
    notes = tmp_path / "DB_Angiograms_134" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    with pytest.raises(DataError, match=r"Cannot unpack .*not empty.*DB_Angiograms_134"):
        prepare(tmp_path, False, "http://unused", sha256(body))
    assert {p.name for p in tmp_path.iterdir()} == {ARCHIVE, notes.parent.name}
    assert notes.read_text() == "mine"


@pytest.mark.parametrize("nested", [".", OFFICIAL_FOLDER, "unpacked/" + OFFICIAL_FOLDER])
def test_existing_folder_works_offline(tmp_path: Path, nested: str) -> None:
    write(tmp_path / "root" / nested)
    data = DCA1(tmp_path / "root", "all")
    assert [s.name for s in data] == [str(n) for n in range(1, 135)]
    assert [int(s.image[0, 0]) for s in data] == list(range(1, 135))
    for sample in data[::40]:
        assert sample.mask is not None
        mask = np.frombuffer(FILES[f"{sample.name}_gt.pgm"], np.uint8)[-256:].reshape(16, 16)
        assert np.array_equal(sample.mask, mask > 0)


def test_splits(tmp_path: Path) -> None:
    write(tmp_path / "d")
    train, test = DCA1(tmp_path / "d"), DCA1(tmp_path / "d", "test")
    assert [s.name for s in train] == [str(n) for n in range(1, 101)]
    assert [s.name for s in test] == [str(n) for n in range(101, 135)]
    assert test[-1].name == "134"
    with pytest.raises(IndexError, match="34 images of DCA1's split 'test'"):
        test[34]
    with pytest.raises(InvalidInputError, match="Did you mean 'train'"):
        DCA1(tmp_path / "d", "training")


def test_default_root_is_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    where = tmp_path / "dmic_gym"
    with pytest.raises(DataError, match=r"No DCA1 images.*Pass download=True") as error:
        DCA1()
    assert str(where / ARCHIVE) in str(error.value)
    write(where / OFFICIAL_FOLDER)
    assert len(DCA1()) == 100
    assert len(load_dataset("dca1", split="all")) == 134
    assert len(load_dataset("dca1?split=test")) == 34


def test_incomplete_folder_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "d")
    (folder / "9.pgm").unlink()
    with pytest.raises(DataError, match=r"lacks 9\.pgm"):
        DCA1(folder)
    (folder / "9_gt.pgm").unlink()
    with pytest.raises(DataError, match="133 of DCA1's 134 images"):
        DCA1(folder)
    assert len(load_dataset(folder)) == 133


def test_the_folder_is_an_image_folder_too(tmp_path: Path) -> None:
    folder = write(tmp_path / "d")
    images = load_dataset(str(folder))
    assert isinstance(images, ImageFolder)
    assert {s.name for s in images} == {s.name for s in DCA1(folder, "all")}
    assert all(s.mask is not None for s in images)
