"""QP maps as plain text, so that another encoder can be driven by them and they by another.

Comments begin with ``#``; every other line holds the absolute QPs of one row of CTUs, and an empty
line ends a frame. ``numpy.loadtxt(file, int)`` reads a file of one frame.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmic_gym.codecs.base import CTU_SIZES, QP_RANGE, map_shape
from dmic_gym.deploy.jobs import Job, Jobs, make_folder
from dmic_gym.errors import DataError, InvalidInputError
from dmic_gym.io import write_atomically
from dmic_gym.types import QPMap

SUFFIX = ".txt"
_TITLE = "# absolute QPs, one row of CTUs a line, an empty line between frames"
_SETTING = re.compile(r"(\w+)=(\d+)")


@dataclass(frozen=True)
class MapPaths:
    """Where maps are read from and written to.

    Attributes:
        given: a file, or a folder that holds ``NAME.txt`` for the picture ``NAME.*``; None lets an
            agent choose.
        saved: the same, for the maps that were used; None keeps none.
    """

    given: Path | None = None
    saved: Path | None = None

    def prepare(self, jobs: Jobs) -> None:
        """Make the folder for the maps of a folder of pictures.

        Raises:
            InvalidInputError: there are several pictures and one file.
            DataError: the folder cannot be made.
        """
        if self.saved is None or not jobs.in_folder:
            return
        if self.saved.suffix == SUFFIX:
            raise InvalidInputError(
                f"--save-map {self.saved} names a file, and the pictures are a folder's: name a "
                f"folder, such as {self.saved.with_suffix('')}."
            )
        make_folder(self.saved)

    def of(self, job: Job) -> MapPaths:
        """Return the files of one picture."""
        return MapPaths(*(_file(path, job) for path in (self.given, self.saved)))

    def claim(self, job: Job) -> None:
        """Raise InvalidInputError where a map to be written exists or would replace a picture."""
        if self.saved is None:
            return
        if self.saved.resolve() == job.target.resolve():
            raise InvalidInputError(
                f"{str(self.saved)!r} is the coded picture: choose another name for --save-map, "
                f"such as {job.target.with_suffix(SUFFIX)}."
            )
        job.claim(self.saved)


NO_MAPS = MapPaths()


def _file(path: Path | None, job: Job) -> Path | None:
    return path / f"{job.source.stem}{SUFFIX}" if path is not None and path.is_dir() else path


def write_maps(
    path: Path, qp_maps: Iterable[QPMap], shape: tuple[int, int], ctu_size: int, base_qp: int | None
) -> None:
    """Write the map of each frame, whole or not at all.

    Args:
        path: the file.
        qp_maps: int16 (rows, cols) each, absolute QPs.
        shape: (H, W) of the frames.
        ctu_size: side of a CTU in luma samples.
        base_qp: noted in the file; None where there was none.

    Raises:
        DataError: the file cannot be written.
    """
    settings = {"width": shape[1], "height": shape[0], "ctu": ctu_size, "base_qp": base_qp}
    noted = " ".join(f"{key}={value}" for key, value in settings.items() if value is not None)
    frames = ("\n".join(" ".join(map(str, row)) for row in one.tolist()) for one in qp_maps)
    write_atomically(path, (f"{_TITLE}\n# {noted}\n" + "\n\n".join(frames) + "\n").encode())


def read_maps(path: Path, shape: tuple[int, int], ctu_size: int, frames: int) -> list[QPMap]:
    """Read a map for each frame of a picture; one map serves all frames.

    Args:
        path: the file; what its comments say of width, height and ctu has to hold.
        shape: (H, W) of the frames.
        ctu_size: side of a CTU in luma samples.
        frames: how many there are.

    Returns:
        int16 (rows, cols) each.

    Raises:
        DataError: the file cannot be read.
        InvalidInputError: it holds no maps, or none for such a picture.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise DataError(
            f"Cannot read {str(path)!r}: {error.strerror}. Files of maps are written by "
            "dmic encode --save-map."
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{str(path)!r} is no text.") from error
    _check_settings(path, text, shape, ctu_size)
    found = _blocks(path, text)
    for qp_map in found:
        _check_shape(path, qp_map, shape, ctu_size)
    if len(found) not in (1, frames):
        raise InvalidInputError(
            f"{str(path)!r} holds {len(found)} maps and the picture {frames} frames: write "
            f"{frames} maps with an empty line between, or one for all frames."
        )
    return found * (frames // len(found))


def _blocks(path: Path, text: str) -> list[QPMap]:
    """Return the maps; empty lines part them, comments count as nothing."""
    blocks: list[list[list[int]]] = [[]]
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            blocks[-1].append(_row(path, number, words, blocks[-1]))
        elif not line.strip() and blocks[-1]:
            blocks.append([])
    found = [np.array(block, np.int16) for block in blocks if block]
    if not found:
        raise InvalidInputError(f"{str(path)!r} holds no QPs: write one row of CTUs a line.")
    return found


def _row(
    path: Path, number: int, words: Sequence[str], above: Sequence[Sequence[int]]
) -> list[int]:
    place = f"{str(path)!r}, line {number}"
    try:
        qps = [int(word) for word in words]
    except ValueError:
        raise InvalidInputError(
            f"{place} is {' '.join(words)!r}: write integers with spaces between, as in 32 32 37."
        ) from None
    low, high = QP_RANGE
    for qp in qps:
        if not low <= qp <= high:
            near = min(max(qp, low), high)
            raise InvalidInputError(
                f"{place} has QP {qp}, valid is {low}..{high}. Nearest: {near}."
            )
    if above and len(above[0]) != len(qps):
        raise InvalidInputError(
            f"{place} has {len(qps)} QPs, the lines above {len(above[0])}: write as many in each."
        )
    return qps


def _check_settings(path: Path, text: str, shape: tuple[int, int], ctu_size: int) -> None:
    comments = "\n".join(line.partition("#")[2] for line in text.splitlines())
    noted = {key: int(value) for key, value in _SETTING.findall(comments)}
    height, width = shape
    size = noted.get("width", width), noted.get("height", height)
    if size != (width, height):
        raise InvalidInputError(
            f"{str(path)!r} says it is for a picture of {size[0]}x{size[1]}, and this one is "
            f"{width}x{height}: pass its own map."
        )
    if (ctu := noted.get("ctu", ctu_size)) != ctu_size:
        raise InvalidInputError(
            f"{str(path)!r} says it is for CTUs of {ctu}, and they are of {ctu_size}: "
            f"type --ctu {ctu}."
        )


def _check_shape(path: Path, qp_map: QPMap, shape: tuple[int, int], ctu_size: int) -> None:
    wanted = map_shape(shape, ctu_size)
    if qp_map.shape == wanted:
        return
    (rows, cols), (lines, each) = wanted, qp_map.shape
    fitting = [size for size in CTU_SIZES if map_shape(shape, size) == qp_map.shape]
    other = f", or type --ctu {fitting[0]}" if fitting else ""
    raise InvalidInputError(
        f"{str(path)!r} has {lines} lines of {each} QPs, and a picture of {shape[1]}x{shape[0]} "
        f"has {rows} rows of {cols} CTUs of {ctu_size}: write {rows} lines of {cols} QPs{other}."
    )
