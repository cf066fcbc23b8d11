"""QP maps as text: ``dmic encode --save-map`` and ``--map``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dmic_gym.codecs.base import map_shape
from dmic_gym.deploy.pictures import write_picture
from dmic_gym.deploy.qp_maps import read_maps, write_maps
from dmic_gym.errors import InvalidInputError
from tests.deploy.makers import picture

Command = Callable[..., tuple[int, str, str]]
FAST = ("--preset", "ultrafast", "--ctu", 32)
ROI = ("--agent", "roi", "--segmenter", "tests.support:vesselness", "--qp", 30)

GOOD = "# ctu=32 width=75 height=70\n" + "30 31 32\n" * 3


@given(st.data())
@settings(max_examples=30)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    height, width, frames = (data.draw(st.integers(1, top)) for top in (200, 200, 3))
    ctu_size = data.draw(st.sampled_from((64, 32, 16)))
    shape = map_shape((height, width), ctu_size)
    qps = arrays(np.int16, shape, elements=st.integers(0, 51))
    maps = [data.draw(qps) for _ in range(frames)]
    path = tmp_path_factory.mktemp("maps") / "x.txt"
    write_maps(path, maps, (height, width), ctu_size, 32)
    np.testing.assert_array_equal(read_maps(path, (height, width), ctu_size, frames), maps)
    np.testing.assert_array_equal(np.loadtxt(path, int, ndmin=2), np.concatenate(maps))


def test_the_file_is_for_other_encoders_to_read(dmic: Command, tmp_path: Path) -> None:
    write_picture(picture((70, 75)), tmp_path / "x.png")
    options = ("--agent", "anchor", *FAST, "--save-map", "x.txt")
    assert dmic("encode", "x.png", "x.hevc", *options)[0] == 0
    assert Path("x.txt").read_text() == (
        "# absolute QPs, one row of CTUs a line, an empty line between frames\n"
        "# width=75 height=70 ctu=32 base_qp=32\n" + "32 32 32\n" * 3
    )


@pytest.mark.parametrize(("suffix", "frames"), [(".hevc", 1), (".hevc", 3), (".mp4", 2)])
def test_a_stream_coded_with_its_own_map_is_the_same(
    suffix: str, frames: int, dmic: Command, tmp_path: Path
) -> None:
    write_picture(picture((70, 75), frames=frames), tmp_path / "x.tiff")
    code, out, _ = dmic("encode", "x.tiff", f"x{suffix}", *ROI, *FAST, "--save-map", "x.txt")
    assert (code, "base QP 30" in out) == (0, True)
    maps = read_maps(tmp_path / "x.txt", (70, 75), 32, frames)
    assert len({qp for one in maps for qp in one.ravel().tolist()}) > 1
    code, out, _ = dmic("encode", "x.tiff", f"y{suffix}", *FAST, "--map", "x.txt")
    assert (code, "base QP" in out) == (0, False)
    assert Path(f"y{suffix}").read_bytes() == Path(f"x{suffix}").read_bytes()


def test_a_folder_has_a_map_for_each_picture(dmic: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_picture(picture((70, 75)), tmp_path / "in" / "a.png")
    write_picture(picture((40, 50), frames=2), tmp_path / "in" / "b.tiff")
    assert dmic("encode", "in", "one", *ROI, *FAST, "--save-map", "maps")[0] == 0
    assert sorted(path.name for path in Path("maps").iterdir()) == ["a.txt", "b.txt"]
    assert dmic("encode", "in", "two", *FAST, "--map", "maps")[0] == 0
    for name in ("a.hevc", "b.hevc"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()
    Path("maps/b.txt").unlink()
    code, out, err = dmic("encode", "in", "three", *FAST, "--map", "maps")
    assert (code, "1 of 2 files" in out) == (1, True)
    assert "skipped: Cannot read 'maps/b.txt'" in err
    assert dmic("encode", "in/a.png", "a.hevc", *FAST, "--map", "maps")[0] == 0


def test_one_map_serves_all_frames(dmic: Command, tmp_path: Path) -> None:
    write_picture(picture((70, 75), frames=2), tmp_path / "x.tiff")
    (tmp_path / "x.txt").write_text(GOOD)
    assert (
        dmic("encode", "x.tiff", "x.hevc", *FAST, "--map", "x.txt", "--save-map", "y.txt")[0] == 0
    )
    found = read_maps(tmp_path / "y.txt", (70, 75), 32, 2)
    np.testing.assert_array_equal(found, [[[30, 31, 32]] * 3] * 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'x.txt' holds no QPs: write one row of CTUs a line."),
        ("30 31\n30 3a\n", "'x.txt', line 2 is '30 3a': write integers with spaces between"),
        ("30 31\n30\n", "'x.txt', line 2 has 1 QPs, the lines above 2"),
        ("30 52 60\n", "'x.txt', line 1 has QP 52, valid is 0..51. Nearest: 51."),
        ("30 31\n30 31\n", "write 3 lines of 3 QPs, or type --ctu 64."),
        ("30\n", "a picture of 75x70 has 3 rows of 3 CTUs of 32: write 3 lines of 3 QPs."),
        (GOOD.replace("ctu=32", "ctu=16"), "for CTUs of 16, and they are of 32: type --ctu 16."),
        (GOOD.replace("75", "70"), "for a picture of 70x70, and this one is 75x70"),
        ("\n".join([GOOD] * 3), "holds 3 maps and the picture 2 frames: write 2 maps"),
        ("\xff", "'x.txt' is no text."),
    ],
)
def test_a_map_that_does_not_fit_is_refused(
    text: str, words: str, dmic: Command, tmp_path: Path
) -> None:
    write_picture(picture((70, 75), frames=2), tmp_path / "x.tiff")
    (tmp_path / "x.txt").write_bytes(text.encode("latin-1"))
    code, _, err = dmic("encode", "x.tiff", "x.hevc", *FAST, "--map", "x.txt")
    assert code == 2
    assert words in err
    assert not Path("x.hevc").exists()


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("x.png", ("--map", "m.txt", "--agent", "roi"), "Pass --map or --agent, not both"),
        ("x.png", ("--map", "m.txt", "--target-dice", 0.9), "leave out --target-dice"),
        ("x.png", ("--map", "n.txt"), "Cannot read 'n.txt': No such file"),
        (
            "x.png",
            ("--agent", "anchor", "--save-map", "out.hevc"),
            "'out.hevc' is the coded picture",
        ),
        ("x.png", ("--agent", "anchor", "--save-map", "x.png"), "'x.png' is an original"),
        ("x.png", ("--agent", "anchor", "--save-map", "m.txt"), "'m.txt' exists"),
        (".", ("--agent", "anchor", "--save-map", "n.txt"), "name a folder, such as n."),
        (".", ("--agent", "anchor", "--save-map", "x.png"), "Cannot make 'x.png'"),
    ],
)
def test_options_that_do_not_go_together(
    source: str, options: tuple[object, ...], words: str, dmic: Command, tmp_path: Path
) -> None:
    write_picture(picture((70, 75)), tmp_path / "x.png")
    (tmp_path / "m.txt").write_text(GOOD)
    target = "out" if source == "." else "out.hevc"
    code, _, err = dmic("encode", source, target, *FAST, *options)
    assert code == 2
    assert words in err
    assert not Path("out.hevc").exists()


def test_a_map_may_not_leave_the_codecs_range(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("-1\n")
    with pytest.raises(InvalidInputError, match="Nearest: 0"):
        read_maps(tmp_path / "x.txt", (20, 20), 64, 1)
