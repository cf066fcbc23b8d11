"""``dmic encode`` and ``decode``: files, folders, failures, interruption."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import tifffile

from dmic_gym.agents.planning import Plan
from dmic_gym.codecs import uniform_map
from dmic_gym.deploy.coder import Coder, Settings
from dmic_gym.deploy.decoding import decode_picture
from dmic_gym.deploy.files import Reading, decode_file, encode_file
from dmic_gym.deploy.jobs import CODED_FORMATS, Job
from dmic_gym.deploy.limits import Limits
from dmic_gym.deploy.pictures import Picture, read_picture, write_picture
from dmic_gym.errors import DataError, DecodeError
from tests.deploy.makers import picture

Command = Callable[..., tuple[int, str, str]]
SEEING = ("--preset", "ultrafast", "--segmenter", "tests.support:vesselness")
QUICK = ("--agent", "anchor", "--preset", "ultrafast")


class Interrupting:
    """A planner that does what Ctrl-C does at the third picture."""

    calls = 0

    def plan(self, evaluator: Any, reference: Any, base_qp: int) -> Plan:
        Interrupting.calls += 1
        if Interrupting.calls == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return Plan(
            evaluator.score(reference, uniform_map(reference.sample.image.shape, 64, base_qp)), 1
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of several forms, a damaged one, and a file that is none."""
    path = tmp_path / "in"
    path.mkdir()
    write_picture(picture((40, 50)), path / "a.png")
    write_picture(picture((41, 51), 10), path / "b.pgm")
    write_picture(picture((30, 30), frames=3), path / "c.tiff")
    (path / "d.jpg").write_bytes(b"\xff\xd8 no picture")
    (path / "notes.txt").write_text("nothing")
    return path


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


@pytest.mark.parametrize("coded", ["x.hevc", "x.265", "x.mp4", "x.dcm", "X.HEVC"])
@pytest.mark.parametrize("decoded", ["y.png", "y.pgm", "y.tiff"])
def test_a_file_there_and_back(coded: str, decoded: str, dmic: Command, tmp_path: Path) -> None:
    if coded.endswith("dcm"):
        pytest.importorskip("pydicom")
    write_picture(picture((41, 50), 10), tmp_path / "x.pgm")
    code, out, err = dmic("encode", "x.pgm", coded, *QUICK, "--qp", 25)
    assert (code, "Error" in err) == (0, False)
    assert f"1 of 1 files, 1 pictures, 4100 bytes of samples, {Path(coded).stat().st_size}" in out
    assert "base QP 25" in out
    assert dmic("decode", coded, decoded)[0] == 0
    expected = Coder(Settings(agent="anchor", preset="ultrafast", qp=25)).encode(
        picture((41, 50), 10), CODED_FORMATS[Path(coded).suffix.lower()]
    )
    found = read_picture(tmp_path / decoded, bit_depth=10)
    np.testing.assert_array_equal(found.samples, expected.reconstruction.samples)
    assert names(tmp_path) == sorted(["x.pgm", coded, decoded])


def test_a_folder_there_and_back(dmic: Command, folder: Path, tmp_path: Path) -> None:
    code, out, err = dmic("encode", folder, "coded", *QUICK)
    assert code == 1
    assert "3 of 4 files, 5 pictures, 1 failed" in out
    assert "skipped: Cannot read" in err
    assert "d.jpg" in err
    assert names(tmp_path / "coded") == ["a.hevc", "b.hevc", "c.hevc"]
    code, out, err = dmic("decode", "coded", "back")
    assert (code, "skipped" in err) == (0, False)
    assert names(tmp_path / "back") == ["a.png", "b.png", "c.tiff"]
    assert read_picture(tmp_path / "back" / "c.tiff").frames.shape == (3, 30, 30)
    assert dmic("encode", folder, "coded", *QUICK, "--to", "mp4")[0] == 1
    assert names(tmp_path / "coded") == [f"{n}.{s}" for n in "abc" for s in ("hevc", "mp4")]


def test_damaged_files_of_a_folder_are_skipped(dmic: Command, folder: Path, tmp_path: Path) -> None:
    dmic("encode", folder, "coded", *QUICK)
    stream = bytearray((tmp_path / "coded" / "a.hevc").read_bytes())
    stream[-40] ^= 1
    (tmp_path / "coded" / "a.hevc").write_bytes(bytes(stream))
    code, out, err = dmic("decode", "coded", "back", "--to", "pgm")
    assert code == 1
    assert "2 of 3 files" in out
    assert "a.hevc': The stream is damaged" in err
    assert names(tmp_path / "back") == ["b.pgm", "c.tiff"]


def test_the_number_of_jobs_changes_no_file(dmic: Command, folder: Path, tmp_path: Path) -> None:
    given = ("--agent", "roi+refine:4", "--preset", "ultrafast")
    for jobs in (1, 3):
        code, _, err = dmic("encode", folder, str(jobs), *given, "--jobs", jobs)
        assert (code, err.count("skipped")) == (1, 1)
    assert dmic("encode", folder / "a.png", "a.hevc", *given, "--jobs", 3)[0] == 0
    one, three = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in "13")
    assert one == three
    assert one["a.hevc"] == (tmp_path / "a.hevc").read_bytes()
    assert dmic("encode", folder, "none", *given, "--jobs", 0)[0] == 2


def test_the_bar_counts_the_frames_of_a_file(dmic: Command, tmp_path: Path) -> None:
    write_picture(picture((40, 50), frames=7), tmp_path / "x.tiff")
    for command in (("encode", "x.tiff", "x.mp4", *QUICK), ("decode", "x.mp4", "y.tiff")):
        code, out, err = dmic(*command)
        assert code == 0
        assert "1 of 1 files, 7 pictures" in out
        assert "frames" in err
    _, _, err = dmic("encode", "x.tiff", "x.hevc", *QUICK)
    assert "7/7" in err


def test_targets_and_agents(dmic: Command, tmp_path: Path) -> None:
    write_picture(picture((100, 100)), tmp_path / "x.png")
    code, out, _ = dmic("encode", "x.png", "x.hevc", "--target-bytes", 900, *QUICK)
    assert code == 0
    assert Path("x.hevc").stat().st_size <= 900
    code, out, _ = dmic(
        "encode", "x.png", "y.hevc", "--agent", "roi", *SEEING, "--target-dice", 0.9
    )
    assert code == 0
    assert float(out.split("lowest retained Dice ")[1]) >= 0.9


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x.png", "x.avi"), "Unknown format to write '.avi'"),
        (("x.png", "x"), "Unknown format to write ''"),
        (("none.png", "x.hevc"), "No such file"),
        (("x.png", "none/x.hevc"), "cannot be written"),
        (("x.png", "x.png/x.hevc"), "cannot be written"),
        (("x.png", "x.hevc", "--qp", 60), "Nearest: 51"),
        (("x.png", "x.hevc", "--qp", 30, "--target-bytes", 9), "Pass --qp or a target"),
        (("x.png", "x.hevc", "--target-bytes", 9), "cannot be reached"),
        (("x.png", "x.hevc", *SEEING, "--agent", "ancor"), "Did you mean 'anchor'"),
        (("x.png", "x.hevc", "--window", "wide"), "neither auto nor CENTRE,WIDTH"),
        (("empty", "out"), "No pictures (.png, .pgm"),
        ((".", "x.png"), "Cannot make 'x.png': File exists"),
        (("pictures", "x.png/out"), "Cannot make 'x.png/out'"),
        ((".", "out.hevc"), "the format by --to hevc"),
        (("x.png", "empty"), "is a folder: name the file to write, such as 'empty/x.hevc'"),
        (("x.png", "x.hevc", "--fps", 10), "keeps no frame rate"),
        (("x.png", "x.mp4", "--fps", 0), "outside 0..1000 pictures a second"),
        (("x.png", "x.hevc", "--window", "auto"), "'auto' is for DICOM"),
        ((".", "out", "--to", "avi"), "Unknown format to write '.avi'"),
    ],
)
def test_errors_of_encode(
    arguments: tuple[object, ...], words: str, dmic: Command, tmp_path: Path
) -> None:
    write_picture(picture((20, 20)), tmp_path / "x.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "pictures").mkdir()
    write_picture(picture((20, 20)), tmp_path / "pictures" / "a.png")
    options = () if "--agent" in arguments else ("--agent", "anchor")
    code, out, err = dmic("encode", *arguments, *options)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
    assert {"x.png", "empty", "pictures"} == set(names(tmp_path))


def test_errors_of_decode(dmic: Command, tmp_path: Path) -> None:
    (tmp_path / "x.hevc").write_bytes(b"nothing")
    for arguments, words in (
        (("x.hevc", "x.png"), "Cannot decode 'x.hevc': The HEVC decoder refused the stream"),
        (("x.hevc", "x.bmp"), "Unknown format to write '.bmp'"),
        (("none.hevc", "x.png"), "No such file"),
        (("..", "out"), "No .hevc, .mp4 or .dcm files"),
    ):
        code, out, err = dmic("decode", *arguments)
        assert (code, out) == (2, "")
        assert words in err
    assert names(tmp_path) == ["x.hevc"]


def test_two_pictures_of_one_name_are_refused(dmic: Command, folder: Path, tmp_path: Path) -> None:
    write_picture(picture((40, 50)), folder / "a.pgm")
    code, _, err = dmic("encode", folder, "coded", *QUICK)
    assert code == 2
    assert "'a.pgm' and 'a.png' would both become 'a.hevc'" in err
    assert not (tmp_path / "coded").exists()


def test_a_full_disk_leaves_the_old_file_and_no_other(
    dmic: Command, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.hevc").write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = dmic("encode", folder / "a.png", "x.hevc", *QUICK, "--overwrite")
    assert code == 2
    assert "cannot be written (No space left on device)" in err
    code, out, err = dmic("encode", folder, "coded", *QUICK)
    assert code == 1
    assert "0 of 4 files" in out
    assert err.count("No space left on device") == 3
    assert names(tmp_path / "coded") == []
    assert (tmp_path / "x.hevc").read_bytes() == b"old"


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interruption_keeps_what_is_done(
    dmic: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(30):
        write_picture(picture((40, 50)), tmp_path / "in" / f"{number:02}.png")
    monkeypatch.setattr(Interrupting, "calls", 0)
    agent = ("--agent", f"{__name__}:Interrupting")
    code, out, _ = dmic("encode", "in", "out", *agent, *SEEING, "--jobs", jobs)
    assert code == 130
    made = names(tmp_path / "out")
    assert 2 <= len(made) < 30
    assert f"{len(made)} of 30 files" in out
    assert jobs > 1 or made == [f"{number:02}.hevc" for number in range(len(made))]
    for name in made:
        assert decode_picture((tmp_path / "out" / name).read_bytes()).shape == (40, 50)


def test_limits_hold_for_files(tmp_path: Path) -> None:
    source = tmp_path / "x.hevc"
    write_picture(picture((40, 50)), tmp_path / "x.png")
    with Coder(Settings(agent="anchor", preset="ultrafast")) as coder:
        encode_file(Job(tmp_path / "x.png", source), coder)
    job = Job(source, tmp_path / "y.png")
    with pytest.raises(DataError, match="more than the limit of 100"):
        decode_file(job, Limits(max_bytes=100))
    with pytest.raises(DataError, match=r"outside 1\.\.32 a side"):
        decode_file(job, Limits(max_side=32))
    assert decode_file(job).raw_bytes == 2000


def test_the_depth_of_dark_pictures_can_be_said(tmp_path: Path) -> None:
    dark = Picture(np.full((40, 50), 300, np.uint16), 12)
    write_picture(dark, tmp_path / "dark.png")
    with Coder(Settings(agent="anchor", preset="ultrafast")) as coder:
        for reading, depth in ((Reading(), 10), (Reading(bit_depth=12), 12)):
            job = Job(tmp_path / "dark.png", tmp_path / "dark.hevc", overwrite=True)
            encode_file(job, coder, reading)
            assert decode_picture((tmp_path / "dark.hevc").read_bytes()).bit_depth == depth


def test_bytes_behind_a_file_are_refused(tmp_path: Path) -> None:
    with Coder(Settings(agent="anchor", preset="ultrafast")) as coder:
        data = coder.encode(picture((40, 50))).data
    with pytest.raises(DecodeError):
        decode_picture(data + b"\1")


def test_a_dcm_comes_back_as_a_grey_one(dmic: Command, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    write_picture(picture((41, 50), frames=2), tmp_path / "x.tiff")
    for step in (
        ("encode", "x.tiff", "x.dcm", *QUICK, "--fps", 10),
        ("decode", "x.dcm", "y.dcm"),
        ("encode", "y.dcm", "z.mp4", *QUICK, "--qp", 0),
        ("decode", "x.dcm", "x-back.tiff"),
        ("decode", "z.mp4", "z-back.tiff"),
    ):
        assert dmic(*step)[0] == 0, step
    first, again = (read_picture(tmp_path / f"{name}-back.tiff").samples for name in "xz")
    assert first.shape == again.shape == (2, 41, 50)
    assert np.abs(first.astype(int) - again).mean() < 0.5
    with av.open("z.mp4") as video:
        assert video.streams.video[0].average_rate == 10


def test_16_bits_can_be_windowed(dmic: Command, tmp_path: Path) -> None:
    deep = np.linspace(0, 60000, 40 * 50).reshape(40, 50).astype(np.uint16)
    assert cv2.imwrite(str(tmp_path / "deep.png"), deep)
    code, _, err = dmic("encode", "deep.png", "x.hevc", *QUICK)
    assert code == 2
    assert "Samples reach 60000; at most 12 bits" in err
    assert "--window CENTRE,WIDTH" in err
    assert (
        dmic("encode", "deep.png", "x.hevc", *QUICK, "--window", "30000,60000", "--qp", 0)[0] == 0
    )
    assert dmic("decode", "x.hevc", "y.png")[0] == 0
    found = read_picture(tmp_path / "y.png")
    assert found.bit_depth == 8
    assert np.abs(found.samples - deep / 60000 * 255).max() < 4


def test_masks_and_formats_by_the_command_line_of_a_data_set(dmic: Command, tmp_path: Path) -> None:
    """What `dmic bench` refuses `dmic encode` refuses, with the same words."""
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", np.zeros((64, 64), np.uint8), compression="lerc")
    code, _, bench = dmic("bench", "--data", "in", "--agents", "anchor", "--qps", 32)
    assert code == 2
    code, _, encode = dmic("encode", "in/a.tif", "a.hevc", *QUICK)
    assert code == 2
    for err in (bench, encode):
        assert "its compression, LERC (34887), is not read: save it with LZW, Deflate" in err


def test_a_pipe_is_refused_and_not_waited_for(dmic: Command, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    code, _, err = dmic("encode", "pipe", "x.hevc", *QUICK)
    assert code == 2
    assert "it is a pipe or a device. Save it as a file first" in err
