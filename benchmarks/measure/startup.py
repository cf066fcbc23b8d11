"""(i) What a command takes before it has done anything, and for one small picture."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2

from measure.common import Row, Scale, interleave, median, ratio, samples

SIDE = 128


def startup(scale: Scale) -> list[Row]:
    """Wall time of whole processes, in turns, beside `python -c pass`."""
    with TemporaryDirectory() as folder:
        picture, coded, back = (Path(folder, name) for name in ("in.png", "in.hevc", "out.png"))
        cv2.imwrite(str(picture), samples(1, SIDE)[0].image)
        encode = ["encode", str(picture), "--qp", "32", "--overwrite", "--quiet"]
        _dmic(*encode, str(coded))
        commands = {
            "python -c pass": partial(_python, "-c", "pass"),
            "import dmic_gym": partial(_python, "-c", "import dmic_gym"),
            "dmic --help": partial(_dmic, "--help"),
            "dmic decode": partial(
                _dmic, "decode", str(coded), str(back), "--overwrite", "--quiet"
            ),
            "dmic encode --agent anchor": partial(
                _dmic, *encode, str(Path(folder, "anchor.hevc")), "--agent", "anchor"
            ),
            "dmic encode": partial(_dmic, *encode, str(Path(folder, "policy.hevc"))),
        }
        return _rows(commands, scale.rounds)


def _rows(commands: Mapping[str, Callable[[], None]], rounds: int) -> list[Row]:
    times = interleave(commands, rounds)
    floor = times["python -c pass"]
    return [
        {"process": name, "seconds": median(taken), "times python -c pass": ratio(taken, floor)}
        for name, taken in times.items()
    ]


def _dmic(*arguments: str) -> None:
    _python("-m", "dmic_gym", *arguments)


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
