"""Tasks by name, and made of a user's folder and network."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import gymnasium as gym
import numpy as np
import pytest

from dmic_gym.errors import DataError, InvalidInputError
from dmic_gym.tasks.registry import TASKS, Task, find_task, task_of
from dmic_gym.tasks.segmenters.folds import folds_folder
from dmic_gym.tasks.segmenters.network import NetworkSegmenter
from dmic_gym.tasks.segmenters.weights import shipped_names
from tests.support import phantoms, python, vesselness

NEEDS_DATA = pytest.mark.skipif("DMIC_DATA" not in os.environ, reason="needs DMIC_DATA")


def write_images(folder: Path, count: int = 2) -> Path:
    folder.mkdir(parents=True)
    for n, sample in enumerate(phantoms(count, 96)):
        assert sample.mask is not None
        cv2.imwrite(str(folder / f"{n:02d}.png"), sample.image)
        cv2.imwrite(str(folder / f"{n:02d}_gt.png"), sample.mask.astype(np.uint8) * 255)
    return folder


def test_the_registry_loads_neither_torch_nor_cv2() -> None:
    code = (
        "import sys; from dmic_gym.tasks.registry import find_task; find_task('phantoms');"
        "from dmic_gym.tasks.segmenters import Segmenter;"
        "print({'torch', 'cv2', 'scipy', 'av'} & set(sys.modules))"
    )
    done = python("-W", "error", "-c", code)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(InvalidInputError, match=r"Did you mean 'phantoms'.*angiograms, arcade"):
        find_task("phantom")
    with pytest.raises(InvalidInputError, match="Did you mean 'test'"):
        find_task("phantoms").load_data("tests")


def test_phantoms_are_judged_by_networks_that_have_not_seen_them() -> None:
    task = find_task("phantoms")
    assert task.leakage() == []
    assert Task("training", test=str(task.train), second="second").leakage() == []
    assert len(task.load_data()) == 100
    segmenter, second = task.load_segmenter(), task.load_second()
    assert isinstance(segmenter, NetworkSegmenter)
    assert isinstance(second, NetworkSegmenter)
    assert segmenter.card != second.card
    assert task.load_metric().label == "Dice"
    posterior = task.load_posterior()
    assert posterior is not None
    assert posterior.members == (segmenter,)  # the very network: none is loaded twice


def test_training_phantoms_that_the_shipped_network_has_seen_are_named() -> None:
    (note, _) = Task("seen", test="phantoms?count=2", second="second").leakage()
    assert note == (
        "The segmenter unet was trained on images phantom-0-0000, phantom-0-0001 of "
        "phantoms?count=2: its Dice there is too high."
    )
    assert Task("unseen", test="phantoms?count=401&select=400:").leakage() == []


def test_a_task_of_ones_own(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "mine")
    task = task_of(str(folder), vesselness)
    assert [sample.name for sample in task.load_data()] == ["00", "01"]
    assert task.load_segmenter() is vesselness
    assert task.load_second() is None
    assert task.leakage() == []
    assert task_of(str(folder)).second == "second"
    assert task_of(str(folder), "unet", "second").second == "second"
    assert task_of(phantoms(1)).load_data()[0].name == "phantom-0-0000"
    assert Task("a", test=str(folder), metric="iou").load_metric().label == "IoU"
    with pytest.raises(InvalidInputError, match="Did you mean 'dice'"):
        Task("a", test=str(folder), metric="dic").load_metric()
    with pytest.raises(InvalidInputError, match="pass a task"):
        task_of(None)


@pytest.mark.parametrize("name", ["angiograms", "arcade"])
def test_data_that_is_not_there_says_how_to_get_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = find_task(name)
    monkeypatch.delenv("DMIC_DATA", raising=False)
    with pytest.raises(DataError, match=r"https://.*set DMIC_DATA to the folder|Set DMIC_DATA"):
        task.load_data()
    monkeypatch.setenv("DMIC_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"https://.*root="):
        task.load_data()
    with pytest.raises(InvalidInputError, match="Did you mean 'train'"):
        Task("a", test=f"{name}?split=trian").load_data()


def test_angiograms_by_variable_and_by_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "angiograms" / "train", 2)
    write_images(tmp_path / "angiograms" / "test", 1)
    monkeypatch.setenv("DMIC_DATA", str(tmp_path))
    task = find_task("angiograms")
    assert [len(task.load_data("train")), len(task.load_data())] == [2, 1]
    (note, _) = Task("a", test="angiograms", second="second").leakage()
    assert "was trained on images 00, 01 of angiograms" in note
    monkeypatch.delenv("DMIC_DATA")
    assert len(Task("a", test=f"angiograms?root={tmp_path}/angiograms").load_data()) == 2


@NEEDS_DATA
@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_shipped_tasks_keep_the_rule(name: str) -> None:
    task = find_task(name)
    folders = {str(task.segmenter)} if folds_folder(str(task.segmenter)) else set()
    if not {str(task.segmenter), str(task.second or "unet")} <= {*shipped_names(), *folders}:
        pytest.skip("the weights are not in this version")
    assert task.leakage() == []
    load, few = (task.load_clips, 14) if task.kind == "clips" else (task.load_data, 21)
    assert len(load()) >= few
    assert len(load("train")) >= 16


def test_a_task_of_clips_says_which_environment_codes_it() -> None:
    task = find_task("phantom-clips")
    assert task.kind == "clips"
    assert task.leakage() == []
    assert [len(task.load_clips(split)) for split in ("test", "train")] == [20, 200]
    for load in (task.load_data, lambda: gym.make("CodingEnv-v0", task="davis")):
        with pytest.raises(InvalidInputError, match=r"holds clips.*VideoCodingEnv-v0"):
            load()
    with pytest.raises(InvalidInputError, match="holds images, not clips"):
        find_task("phantoms").load_clips()


def test_clips_of_ones_own_are_judged_by_a_network_for_clips(tmp_path: Path) -> None:
    write_images(tmp_path / "clips" / "run")
    task = task_of(f"{tmp_path}/clips")
    assert (task.kind, task.segmenter, task.second) == ("clips", "davis-net", None)
    assert [len(clip) for clip in task.load_clips()] == [2]
    assert task_of("phantom-clips?count=1").second == "second"


def test_gym_make_takes_what_the_command_line_takes() -> None:
    env = gym.make("CodingEnv-v0", dataset="phantoms?count=2&size=96", segmenter="unet")
    _, info = env.reset(seed=0)
    assert info is not None
    assert len(env.unwrapped.dataset) == 2  # type: ignore[attr-defined]
    env.close()
