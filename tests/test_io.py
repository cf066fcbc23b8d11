"""A name never stands for half a file; versions are those of the packages."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
import pytest

from dmic_gym.errors import DataError, InvalidInputError
from dmic_gym.io import (
    expanded,
    portable,
    qualified_name,
    source_sha256,
    versions_of,
    write_atomically,
)
from tests.support import python, trajectory

FULL = """
import resource, sys
from pathlib import Path
from dmic_gym.io import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_atomically(Path(sys.argv[1]), bytes(10_000))
except OSError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "a.bin"
    made.write_bytes(b"old")
    return made


def only_the_old_file(path: Path) -> bool:
    return [*path.parent.iterdir()] == [path] and path.read_bytes() == b"old"


def test_the_new_content_replaces_the_old(path: Path) -> None:
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [*path.parent.iterdir()] == [path]


def test_no_room_for_the_file(path: Path) -> None:
    done = python("-B", "-c", FULL, str(path))
    assert done.stdout.startswith(f"DataError {path}: cannot be written (File too large)")
    assert only_the_old_file(path)


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no folder that nobody can write")
def test_a_folder_that_nobody_can_write() -> None:
    with pytest.raises(DataError, match=r"/sys/kernel/a.bin: cannot be written \("):
        write_atomically(Path("/sys/kernel/a.bin"), b"new")


def test_a_folder_that_is_none(path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        write_atomically(path / "b.bin", b"new")
    assert only_the_old_file(path)


def test_interrupted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert only_the_old_file(path)


def test_versions() -> None:
    assert versions_of(["numpy", "no-such-package"]) == {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "no-such-package": "not installed",
    }


def test_the_data_folder_is_a_variable_in_records(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DMIC_DATA", f"{tmp_path}/")
    assert portable(f"dmic bench --data {tmp_path}/a") == "dmic bench --data $DMIC_DATA/a"
    assert portable(f"{tmp_path}-2/a {tmp_path}") == f"{tmp_path}-2/a $DMIC_DATA"
    assert expanded("$DMIC_DATA/a") == f"{tmp_path}//a"
    monkeypatch.delenv("DMIC_DATA")
    assert portable(f"{tmp_path}/a") == f"{tmp_path}/a"
    with pytest.raises(
        InvalidInputError, match=r"DMIC_DATA\} is not set\. Type: export DMIC_DATA="
    ):
        expanded("${DMIC_DATA}/a")
    (tmp_path / "$odd").touch()
    assert expanded(f"{tmp_path}/$odd") == f"{tmp_path}/$odd"


def test_objects_are_named_by_their_class_and_source(path: Path) -> None:
    assert qualified_name(InvalidInputError) == "dmic_gym.errors:InvalidInputError"
    assert qualified_name(expanded) == "dmic_gym.io:expanded"
    assert qualified_name(InvalidInputError("x")) == "dmic_gym.errors:InvalidInputError"
    assert source_sha256(python) == source_sha256(trajectory) != source_sha256(expanded)
    assert source_sha256(3) == "unknown"
