"""No original is ever replaced, whatever a user types."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from dmic_gym.deploy.pictures import write_picture
from tests.deploy.dicoms import angiogram, frames_of, save
from tests.deploy.makers import picture

Command = Callable[..., tuple[int, str, str]]
QUICK = ("--agent", "anchor", "--preset", "ultrafast")


@pytest.fixture
def originals(tmp_path: Path) -> dict[Path, bytes]:
    """A DICOM file, and a folder of one and a picture."""
    (tmp_path / "d").mkdir()
    save(angiogram(frames_of((2, 64, 64), 8)), tmp_path / "xa.dcm")
    save(angiogram(frames_of((1, 64, 64), 8)), tmp_path / "d" / "a.dcm")
    write_picture(picture((40, 50)), tmp_path / "d" / "b.png")
    files = (tmp_path / name for name in ("xa.dcm", "d/a.dcm", "d/b.png"))
    return {path: path.read_bytes() for path in files}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("encode", "xa.dcm", "xa.dcm"), "is an original"),
        (("encode", "xa.dcm", "./d/../xa.dcm"), "is an original"),
        (("encode", "xa.dcm", "hard.dcm"), "is an original, under this or another name"),
        (("encode", "xa.dcm", "soft.dcm"), "is an original, under this or another name"),
        (("encode", "d", "d", "--to", "dcm"), "is or contains the folder of the originals"),
        (("encode", "d", "link", "--to", "dcm"), "is or contains the folder of the originals"),
        (("encode", "d", "."), "is or contains the folder of the originals"),
        (("encode", "d", "out", "--to", "dcm"), "is an original, under this or another name"),
        (("decode", "d", "d"), "is or contains the folder of the originals"),
        (("decode", "xa.dcm", "xa.dcm"), "is an original"),
    ],
)
def test_an_output_that_is_an_original_is_refused(
    arguments: tuple[str, ...],
    words: str,
    overwrite: bool,
    dmic: Command,
    originals: dict[Path, bytes],
    tmp_path: Path,
) -> None:
    os.link(tmp_path / "xa.dcm", tmp_path / "hard.dcm")
    (tmp_path / "soft.dcm").symlink_to("xa.dcm")
    (tmp_path / "link").symlink_to("d")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.dcm").symlink_to(tmp_path / "d" / "a.dcm")
    options = QUICK if arguments[0] == "encode" else ()
    more = ("--overwrite",) if overwrite else ()
    code, _, err = dmic(*arguments, *options, *more)
    assert code == 2
    assert words in err
    assert all(path.read_bytes() == data for path, data in originals.items())


def test_a_file_that_exists_needs_overwrite(
    dmic: Command, originals: dict[Path, bytes], tmp_path: Path
) -> None:
    for name in ("x.hevc", "there.hevc"):
        (tmp_path / name).write_bytes(b"old")
    (tmp_path / "x.hevc").unlink()
    (tmp_path / "x.hevc").symlink_to("there.hevc")
    code, _, err = dmic("encode", "xa.dcm", "x.hevc", *QUICK)
    assert code == 2
    assert "'x.hevc' exists. To replace it type: --overwrite" in err
    assert dmic("encode", "xa.dcm", "x.hevc", *QUICK, "--overwrite")[0] == 0
    assert not (tmp_path / "x.hevc").is_symlink()
    assert (tmp_path / "there.hevc").read_bytes() == b"old"


def test_files_of_a_folder_that_exist_are_left_and_named(
    dmic: Command, originals: dict[Path, bytes], tmp_path: Path
) -> None:
    assert dmic("encode", "d", "d/coded", *QUICK)[0] == 0
    before = (tmp_path / "d/coded/a.hevc").stat().st_mtime_ns
    (tmp_path / "d/coded/b.hevc").unlink()
    code, out, err = dmic("encode", "d", "d/coded", *QUICK)
    assert code == 1
    assert "skipped: 'd/coded/a.hevc' exists. To replace it type: --overwrite" in err
    assert "1 of 2 files" in out
    assert (tmp_path / "d/coded/a.hevc").stat().st_mtime_ns == before
    assert dmic("encode", "d", "d/coded", *QUICK, "--overwrite")[0] == 0


def test_pages_do_not_replace_a_tiff_unasked(
    dmic: Command, originals: dict[Path, bytes], tmp_path: Path
) -> None:
    """The suffix becomes .tiff where a stream holds several pictures."""
    (tmp_path / "x.tiff").write_bytes(b"old")
    assert dmic("encode", "xa.dcm", "x.hevc", *QUICK)[0] == 0
    code, _, err = dmic("decode", "x.hevc", "x.png")
    assert code == 2
    assert "'x.tiff' exists" in err
    assert (tmp_path / "x.tiff").read_bytes() == b"old"


def test_a_folder_says_what_it_leaves_out(dmic: Command, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    grey = PillowImage.fromarray(np.zeros((20, 30), np.uint8))
    for name in ("a.png", "b.bmp", "c.webp", "d.jp2", "e.gif", "a_gt.png", "b_MASK.gif"):
        grey.save(folder / name)
    for name in ("notes.txt", "more.TXT", "README"):
        (folder / name).write_text("nothing")
    (folder / "bare.dcm").write_bytes(b"no preamble")
    code, out, err = dmic("encode", folder, "out", *QUICK)
    assert code == 1
    assert "5 of 6 files" in out
    left = "1 files without suffix, 1 folders, 2 .txt files, 2 masks (*_gt, *_mask)"
    assert left in out.replace("left out: ", "") or all(word in out for word in left.split(", "))
    assert "skipped: " in err
    assert "bare.dcm" in err
    assert "dcmconv IN OUT" in err
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == list("abcde")
    code, out, _ = dmic("decode", "out", "back")
    assert code == 0
    assert "left out" not in out


def test_only_masks_are_no_pictures(dmic: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_picture(picture((20, 20)), tmp_path / "in" / "a_gt.png")
    code, _, err = dmic("encode", "in", "out", *QUICK)
    assert code == 2
    assert "No pictures" in err
    assert "1 masks (*_gt, *_mask)" in err
    assert not (tmp_path / "out").exists()
