"""What has to be installed for what: the parts of the package without the others' requirements."""

from __future__ import annotations

import tomllib

import pytest

from tests.support import ROOT, python

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BASE = set(PROJECT["dependencies"])
CORE = {
    line
    for line in (ROOT / "requirements-core.txt").read_text().splitlines()
    if not line.startswith("#")
}
LEFT_OUT = {
    "bjontegaard": "bjontegaard",
    "ffmpeg-python": "ffmpeg",
    "filelock": "filelock",
    "jinja2": "jinja2",
    "matplotlib": "matplotlib",
    "rich": "rich",
    "typer": "typer",
}
"""Packages that environments and codec do without, and the names that they are imported by."""

EXTRAS = ("efficientnet_lite_pytorch", "imagecodecs", "imageio_ffmpeg", "pydicom", "ray")
BLOCKED = (*LEFT_OUT.values(), *EXTRAS, "tensorboard")

WITHOUT = f"""
import sys
sys.modules.update(dict.fromkeys({BLOCKED!r}))
"""


def name_of(requirement: str) -> str:
    return requirement.partition(">")[0]


def without_them(code: str) -> str:
    done = python("-c", WITHOUT + code)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_core_leaves_out_what_is_said_to_be_left_out() -> None:
    assert CORE < BASE
    assert {name_of(requirement) for requirement in BASE - CORE} == set(LEFT_OUT)


@pytest.mark.slow
def test_environments_policies_encode_and_decode_work_with_the_core_alone() -> None:
    code = """
import dmic_gym, gymnasium
import numpy as np
env = gymnasium.make("CodingEnv-v0", dataset="phantoms?count=1&size=64", base_qps=[37])
env.reset(seed=0)
*_, terminated, truncated, info = env.step(0)
assert terminated and info["bits"] > 0
assert gymnasium.make("VideoCodingEnv-v0", dataset="phantom-clips?count=1&size=64").reset(seed=0)
image = np.asarray(dmic_gym.load_dataset("phantoms?count=1&size=64")[0].image)
assert dmic_gym.decode(dmic_gym.encode(image, qp=37)).shape == (64, 64)
assert all(getattr(dmic_gym, name) for name in dmic_gym.__all__)
"""
    without_them(code)


def test_what_the_core_lacks_is_named_with_what_to_type() -> None:
    code = """
from dmic_gym.bench.bdrate import RDCurve, bd_rate
from dmic_gym.codecs import FFmpegCodec
from dmic_gym.errors import MissingDependencyError
from dmic_gym.__main__ import main
curve = RDCurve([1, 2, 3, 4], [.1, .2, .3, .4])
for ask in (FFmpegCodec, lambda: bd_rate(curve, curve)):
    try:
        ask()
    except MissingDependencyError as error:
        print(error)
try:
    main()
except SystemExit as stop:
    print(stop.code)
"""
    lines = without_them(code).splitlines()
    assert lines[0].startswith("FFmpegCodec needs ffmpeg-python, ")
    assert lines[1].startswith("A BD-rate needs bjontegaard, ")
    assert lines[2].startswith("Error: The command line needs ")
    assert all(line.endswith("Type: pip install dmic_gym") for line in lines)
