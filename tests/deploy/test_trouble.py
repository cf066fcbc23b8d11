"""``dmic encode`` where the disk is full, the folder is read-only, the user is impatient."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dmic_gym.deploy.pictures import read_picture, write_picture
from tests.deploy.makers import picture
from tests.support import ROOT

DMIC = "from dmic_gym.cli import main; main()"
# Always with -B: without room Python would leave half of its own .pyc files behind.
WITHOUT_ROOM = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300)); {DMIC}"
IMPATIENT = """
"The user presses Ctrl-C while the third picture is segmented."
import os, signal
import numpy as np

def impatient(images):
    if images.shape[-1] == 66:
        os.kill(os.getpid(), signal.SIGINT)
    return np.zeros(images.shape, np.float32)
"""
ENCODE = ("--agent", "anchor", "--preset", "ultrafast")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    for index in range(4):
        write_picture(picture((48, 64 + index)), made / f"{index}.png")
    return made


def dmic(program: str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", "-c", program, *map(str, arguments)]
    path = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=path, capture_output=True, text=True, check=False)


def test_a_full_disk(folder: Path, tmp_path: Path) -> None:
    done = dmic(WITHOUT_ROOM, "encode", folder, "out", "--qp", "0", *ENCODE, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("cannot be written (File too large)") == 4
    assert "Traceback" not in done.stderr
    assert [*(tmp_path / "out").iterdir()] == []


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no folder that nobody can write")
def test_a_folder_that_nobody_can_write(folder: Path, tmp_path: Path) -> None:
    target = Path("/sys/kernel/a.dcm")
    done = dmic(DMIC, "encode", folder / "0.png", target, *ENCODE, cwd=tmp_path)
    assert done.returncode == 2
    assert f"Error: {target}: cannot be written (" in done.stderr
    assert "Traceback" not in done.stderr


STUBBORN = """
"A segmenter that Ctrl-C finds inside C++ code, more often than not."
import numpy as np
import torch

def stubborn(images):
    if images.shape[-1] == 66:
        print("third", flush=True)
        for _ in range(300):
            torch.nn.functional.conv2d(torch.zeros(1, 8, 256, 256), torch.zeros(8, 8, 9, 9))
    return np.zeros(images.shape, np.float32)
"""


def test_ctrl_c_in_the_middle_of_a_network_is_no_crash(folder: Path, tmp_path: Path) -> None:
    """Python used to be torn down around the working thread, which aborted the process."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    segmenter = ("--segmenter", "stubborn:stubborn", "--target-dice", "0.5")
    command = [
        sys.executable,
        "-B",
        "-c",
        DMIC,
        "encode",
        str(folder),
        "out",
        *ENCODE,
        *segmenter,
        "--jobs",
        "1",
    ]
    path = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "third\n"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "2 of 4 files" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.hevc", "1.hevc"]


def test_ctrl_c_leaves_whole_files_only(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    segmenter = ("--segmenter", "impatient:impatient", "--target-dice", "0.5")
    done = dmic(DMIC, "encode", folder, "out", *ENCODE, *segmenter, "--jobs", "1", cwd=tmp_path)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    made = sorted((tmp_path / "out").iterdir())
    names = [path.name for path in made]  # the third picture may be finished in time
    assert names in (["0.hevc", "1.hevc"], ["0.hevc", "1.hevc", "2.hevc"])
    done = dmic(DMIC, "decode", "out", "back", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "back").iterdir():
        assert read_picture(path).shape == read_picture(folder / path.name).shape
