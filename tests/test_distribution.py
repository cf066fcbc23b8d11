"""The wheel and the source distribution: built, checked, and used without this folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

import dmic_gym
from tests.support import ROOT, python

pytestmark = pytest.mark.slow

NAME = f"dmic_gym-{dmic_gym.__version__}"
PROJECT_FILES = {
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "SECURITY.md",
    "constraints-oldest.txt",
    "constraints.txt",
    "pyproject.toml",
    "requirements-core.txt",
    "setup.cfg",
}
PACKAGE = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "dmic_gym").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both: the wheel is built from the unpacked source distribution."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    unwanted = shutil.ignore_patterns("__pycache__")
    for folder in ("dmic_gym", "tests", "examples", "benchmarks"):
        shutil.copytree(ROOT / folder, source / folder, ignore=unwanted)
    for name in PROJECT_FILES:
        shutil.copy(ROOT / name, source)
    run("build", "--no-isolation", "--outdir", str(out), str(source))
    return out


def run(*module: str) -> str:
    done = subprocess.run([sys.executable, "-m", *module], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "would be ignored" not in done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return built / f"{NAME}-py3-none-any.whl"


def files_of(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.startswith(f"{NAME}.dist-info/")}


def test_both_pass_twine(built: Path) -> None:
    printed = run("twine", "check", "--strict", *map(str, sorted(built.iterdir())))
    assert printed.count("PASSED") == 2


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert files_of(wheel) == PACKAGE


def test_weights_come_with_their_cards_and_no_pictures(wheel: Path) -> None:
    files = files_of(wheel)
    weights = {name for name in files if name.endswith(".safetensors")}
    assert len(weights) > 12
    assert {name.replace(".safetensors", ".json") for name in weights} <= files
    kinds = {Path(name).suffix or name for name in files}
    assert kinds == {".py", ".json", ".safetensors", ".css", ".j2", ".typed"}


def test_the_source_distribution_holds_the_same_and_the_projects_files(built: Path) -> None:
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        names = {member.name for member in archive.getmembers() if member.isfile()}
    files = {name.removeprefix(f"{NAME}/") for name in names if ".egg-info/" not in name}
    assert files == PACKAGE | PROJECT_FILES | {"PKG-INFO"}


def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        return Parser().parsestr(archive.read(f"{NAME}.dist-info/METADATA").decode())


def test_the_metadata_says_who_and_under_which_licence(wheel: Path) -> None:
    found = metadata(wheel)
    assert found["Author"] == "dmic_gym contributors"
    assert found["License-Expression"] == "MIT"
    assert found["License-File"] == "LICENSE"
    assert all(" https://" in url for url in found.get_all("Project-URL", []))


def test_a_wheel_works_far_from_the_repository(wheel: Path, tmp_path: Path) -> None:
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = f"""
import os, sys
os.chdir({str(tmp_path)!r})
sys.path.insert(0, {str(tmp_path)!r})
import dmic_gym
assert dmic_gym.__file__.startswith({str(tmp_path)!r})
from dmic_gym.agents.policy.loading import load_agent
from dmic_gym.agents.policy.shipped import policy_names
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS
assert all(load_agent(name, DEFAULT_QP_OFFSETS, 64) for name in policy_names())
assert dmic_gym.load_segmenter("unet")
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
