"""``dmic pretrain`` and ``dmic finetune`` as a user runs them, on small phantoms."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from dmic_gym.agents.policy.network import HEAD
from dmic_gym.agents.training.checkpoints import WARM_STARTED
from dmic_gym.agents.training.learn import VALUE_TABLES
from dmic_gym.agents.training.learning_log import LEARNING
from dmic_gym.cli.common import integers_of
from dmic_gym.cli.training_runs import reinforcement
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.segmenters.weights import load_weights, read_card
from tests.support import ROOT, error_line, phantoms

SMALL = (
    "--segmenter", "tests.support:vesselness", "--qps", "27,37", "--epochs", "1",
    "--envs", "2", "--steps", "100", "--device", "cpu",
)  # fmt: skip

RANDOM = ("--weights", "random", "--no-credit")


def small(segmenter: object) -> tuple[object, ...]:
    return ("--segmenter", segmenter, *SMALL[2:])


def make_folder(path: Path) -> Path:
    path.mkdir()
    for sample in phantoms(2, 96):
        assert sample.mask is not None
        cv2.imwrite(str(path / f"{sample.name}.png"), sample.image)
        cv2.imwrite(str(path / f"{sample.name}_gt.png"), sample.mask.astype(np.uint8) * 255)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("images") / "data")


@pytest.fixture
def pretrained(dmic: Any, folder: Path, tmp_path: Path) -> Path:
    code, out, _ = dmic("pretrain", "--data", folder, "--out", tmp_path / "pre", *SMALL)
    assert code == 0
    assert "100 A2C steps, 100.0% of the parameters trained, no GPU, " in out
    return tmp_path / "pre" / "pretrained.safetensors"


def logged(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_pretrain_then_finetune(dmic: Any, pretrained: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    code, said, err = dmic(
        "finetune", "--data", folder, "--weights", pretrained, "--out", out, *SMALL,
        "--variations", 2, "--no-credit",
    )  # fmt: skip
    assert code == 0
    assert f"wrote {out / 'finetuned.safetensors'}" in said.replace("\n", " ")
    assert "100 A2C steps, 2.7% of the parameters trained, no GPU, " in said
    for words in ("QP value tables", "warm start loss", "A2C reward "):
        assert words in err

    before, after = load_weights(pretrained)[0], load_weights(out / "finetuned.safetensors")[0]
    changed = {name for name in before if before[name].ne(after[name]).any()}
    assert changed
    assert all(name.startswith(HEAD) for name in changed)

    card = read_card(out / "finetuned.safetensors")
    assert card.command.startswith("dmic finetune --data ")
    assert card.metrics["start"].startswith("pretrained.safetensors ")
    assert list(card.metrics["segmenters"]) == ["tests.support:vesselness"]
    assert card.metrics["trainable_share"] == pytest.approx(0.027, abs=0.001)
    assert card.metrics["a2c_steps"] == 100
    assert card.metrics["gpu"]["gpu"] == "no GPU"
    (name,) = card.metrics["names"]
    assert card.data[0] == f"{folder}: {name}"

    events = logged(out / "log")
    scalars = set(events.Tags()["scalars"])
    assert scalars >= {
        "rollout/ep_rew_mean", "episodes/dice_gain", "episodes/bits_share", "train/value_loss",
        "train/trainable_share", "warm_start/loss",
    }  # fmt: skip
    assert [event.step for event in events.Scalars("rollout/ep_rew_mean")] == [50, 100]
    assert events.Tensors("gpu/name/text_summary")[0].tensor_proto.string_val == [b"no GPU"]


def test_a_run_is_not_mixed_with_another(dmic: Any, pretrained: Path, folder: Path) -> None:
    again = ("pretrain", "--data", folder, "--out", pretrained.parent, *SMALL)
    assert "holds a run already: pass --resume" in error_line(dmic(*again))
    line = error_line(dmic(*again, "--resume", "--rate", "0.001", "--ctu", "32"))
    assert "ctu_size was 64, is 32; learning_rate was 0.0002, is 0.001" in line
    code, out, err = dmic(*again, "--resume", "--steps", "150")
    assert code == 0
    assert "150 A2C steps" in out
    assert "QP value tables" not in err
    zips = {path.name for path in pretrained.parent.glob("*.zip")}
    assert zips == {WARM_STARTED, "a2c_100_steps.zip", "a2c_150_steps.zip"}
    assert (pretrained.parent / "log" / "progress-100.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tune", "hed"], "Did you mean 'head'"),
        (["--tune", "head", "--weights", "nowhere/a.safetensors"], "no such weights file"),
        (["--tune", "head", "--weights", "nobody"], "Unknown weights 'nobody'"),
        (["--segmenter", "unett"], "Did you mean 'unet'"),
        (["--segmenter", "."], "There are no *-fold*.safetensors in ."),
        (["--image", "phantom-0-0009"], "Nearest: 'phantom-0-0001'"),
        (["--samples", "3"], "Nearest: 2"),
        (["--steps", "0", "--epochs", "0"], "Nothing would be learned"),
        (["--steps", "-5"], "Nearest: 0"),
        (["--rate", "0"], "must be above 0"),
        (["--name", "a/b"], "must be a plain file name"),
        (["--jobs", "0"], "Nearest: 1"),
        (["--device", "tpu"], "Pass 'auto' or 'cpu'"),
        (["--out", "IN_THE_WAY"], "Pass another --out"),
    ],
)
def test_a_bad_argument_is_one_clear_line(
    dmic: Any, folder: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "IN_THE_WAY").write_text("a file")
    judge, arguments = (
        (arguments[1], []) if arguments[0] == "--segmenter" else (SMALL[1], arguments)
    )
    base = ("finetune", "--data", folder, "--out", "tuned", *small(judge), *RANDOM)
    assert words in error_line(dmic(*base, *arguments))


@pytest.mark.parametrize(
    ("take", "words"), [("9::", "none of the 2"), ("::0", "START"), ("a", "START")]
)
def test_a_selection_of_nothing_is_refused(dmic: Any, folder: Path, take: str, words: str) -> None:
    assert words in error_line(
        dmic("pretrain", "--data", f"{folder}?select={take}", "--out", "o", *SMALL)
    )


def test_a_segmenter_that_has_seen_the_sample_is_refused(
    dmic: Any, folder: Path, tmp_path: Path
) -> None:
    folds = tmp_path / "folds"
    dmic(
        "train-segmenter", "--data", folder, "--out", folds, "--folds", 2, "--epochs", 1,
    )  # fmt: skip
    tune = (
        "finetune", "--data", folder, "--out", tmp_path / "tuned", *RANDOM,
        "--variations", 1, "--image", "phantom-0-0001",
    )  # fmt: skip
    line = error_line(dmic(*tune, *small(folds / "unet-fold0.safetensors"), "--epochs", 0))
    assert "was trained on image phantom-0-0001 of" in line
    assert "--segmenter FOLDS" in line
    code, _, _ = dmic(*tune, *small(folds), "--epochs", 0)
    assert code == 0
    card = read_card(tmp_path / "tuned" / "finetuned.safetensors")
    assert list(card.metrics["segmenters"]) == ["unet-fold1"]


def test_a_training_that_runs_out_of_minutes_goes_on_where_it_was(
    dmic: Any, folder: Path, tmp_path: Path
) -> None:
    command = (
        "train-segmenter", "--data", folder, "--out", tmp_path / "seg", "--epochs", 2,
        "--argument", "shrink=2", "--argument", "channels=[4,8]", "--crop", 64, "--rate", 1e-3,
        "--resume",
    )  # fmt: skip
    code, _, err = dmic(*command, "--minutes", 0)
    assert code == 3
    assert "stopped after epoch 1" in err
    code, out, err = dmic(*command, "--test", folder)
    assert code == 0
    assert "Dice 0." in out
    assert "2/2" in err
    assert "1/2" not in err
    card = read_card(tmp_path / "seg" / "unet.safetensors")
    assert card.arguments == {"shrink": 2, "channels": [4, 8]}
    assert card.metrics["recipe"]["size"] == 64
    assert card.metrics["recipe"]["learning_rate"] == 1e-3
    assert len(card.metrics["looks_at_test"]) == 1
    line = error_line(dmic(*command, "--argument", "shrink=two"))
    assert "NAME=JSON" in line


def test_pretraining_says_what_its_segmenter_has_seen(
    dmic: Any, folder: Path, tmp_path: Path
) -> None:
    dmic("train-segmenter", "--data", folder, "--out", tmp_path / "seg", "--epochs", 1)
    code, _, err = dmic(
        "pretrain", "--data", folder, "--out", "o",
        *small(tmp_path / "seg" / "unet.safetensors"), "--epochs", 0, "--steps", 50,
    )  # fmt: skip
    assert code == 0
    assert "Note:" in err
    (note,) = read_card(Path("o/pretrained.safetensors")).notes
    assert "was trained on images phantom-0-0000, phantom-0-0001 of" in note


def run_until(done: Any, arguments: Sequence[object], how: int) -> int:
    """Run the command and send it a signal as soon as `done` says so."""
    code = "import sys; from dmic_gym.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    while not done() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(how)
    return process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["tables", "warm start", "A2C"])
def test_a_run_goes_on_after_kill_9(dmic: Any, folder: Path, tmp_path: Path, stage: str) -> None:
    out = tmp_path / "run"
    arguments = ["pretrain", "--data", folder, "--out", out, *SMALL]
    arguments += ["--epochs", 400] if stage == "warm start" else ["--steps", 6_000]

    def reached() -> bool:
        value_tables = out / VALUE_TABLES
        found = value_tables.read_text().count("\n") if value_tables.exists() else 0
        if stage == "tables":
            return found > 0
        return found == 2 if stage == "warm start" else bool(list(out.glob("a2c_*_steps.zip")))

    assert run_until(reached, arguments, signal.SIGKILL) == -signal.SIGKILL
    before = (out / VALUE_TABLES).read_bytes()
    assert not (out / "pretrained.safetensors").exists()
    assert (out / WARM_STARTED).exists() == (stage == "A2C")
    code, said, err = dmic(*arguments, "--resume")
    assert code == 0, err
    assert (out / VALUE_TABLES).read_bytes().startswith(before)
    assert len((out / VALUE_TABLES).read_text().splitlines()) == 2
    assert json.loads((out / "pretrained.json").read_text())["metrics"]["a2c_steps"] >= 100
    assert len(list(out.glob("a2c_*_steps.zip"))) <= 2
    assert "A2C steps" in said


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["pretrain", "--data", folder, "--out", out, *SMALL, "--steps", 100_000]
    reached = (out / WARM_STARTED).exists
    assert run_until(reached, arguments, signal.SIGINT) == 130


def test_several_data_sets_have_a_segmenter_each(dmic: Any, folder: Path, tmp_path: Path) -> None:
    folds = tmp_path / "folds"
    dmic(
        "train-segmenter", "--data", folder, "--out", folds, "--folds", 2, "--epochs", 1,
    )  # fmt: skip
    both = (
        "pretrain", "--data", folder, "--data", "phantoms?count=6&select=4::",
        "--segmenter", folds, *small("tests.support:vesselness"),
        "--variations", 3, "--epochs", 1, "--out", tmp_path / "o",
    )  # fmt: skip
    code, _, err = dmic(*both)
    assert code == 0, err
    card = read_card(tmp_path / "o" / "pretrained.safetensors")
    assert card.metrics["images"] == 6
    assert "folds/unet-fold0" in card.data[-1]
    assert "folds/unet-fold1" in card.data[-1]
    assert "tests.support:vesselness" in card.data[-1]
    judges = {"unet-fold0", "unet-fold1", "tests.support:vesselness"}
    assert card.metrics["segmenters"].keys() == judges
    once = error_line(dmic(*both, "--segmenter", "unet", "--out", "p"))
    assert "--segmenter is given 3 times for 2 data sets" in once


def test_the_number_of_jobs_changes_no_weight(dmic: Any, folder: Path, tmp_path: Path) -> None:
    for jobs in (1, 3):
        out = tmp_path / str(jobs)
        command = ("pretrain", "--data", folder, "--out", out, *SMALL, "--credit", "--jobs", jobs)
        assert dmic(*command)[0] == 0
    one, three = (load_weights(tmp_path / n / "pretrained.safetensors")[0] for n in ("1", "3"))
    assert one.keys() == three.keys()
    assert all(one[name].equal(three[name]) for name in one)


@pytest.mark.slow
def test_pretrain_with_credit_by_one_command(dmic: Any, tmp_path: Path) -> None:
    command = (
        "pretrain", "--task", "phantoms?count=4&size=96", "--credit", "--maps", 2, "--envs", 4,
        "--epochs", 1, "--steps", 32, "--held-out", 1, "--judge-every", 1, "--qps", "26..40",
        "--inputs", "pixels", "--preset", "ultrafast",
        "--out", tmp_path / "run", "--resume",
    )  # fmt: skip
    code, out, _ = dmic(*command)
    assert code == 0
    assert "32 A2C steps, 100.0% of the parameters trained" in out
    lines = [json.loads(line) for line in (tmp_path / "run" / LEARNING).read_text().splitlines()]
    assert [line["steps"] for line in lines if "reward" in line] == [16, 32]
    assert [line["steps"] for line in lines if "held_out" in line] == [0, 16, 32]
    card = read_card(tmp_path / "run" / "pretrained.safetensors")
    assert card.architecture == "DMICPolicy"
    assert card.metrics["images"] == 3
    assert card.metrics["config"]["base_qps"] == list(range(26, 41))


@pytest.mark.parametrize(
    ("maps", "envs", "together", "compared"),
    [(None, None, 30, 5), (3, None, 18, 3), (1, None, 30, 1), (None, 8, 8, 4), (None, 7, 7, 1)],
)
def test_so_many_maps_are_compared_as_divide_the_episodes(
    maps: int | None, envs: int | None, together: int, compared: int
) -> None:
    chosen = reinforcement("images", None, envs, None, True, maps, "medium", from_nothing=True)
    assert (chosen["envs"], chosen["maps"]) == (together, compared)


def test_maps_that_do_not_divide_the_episodes_are_refused_by_the_names_of_the_options(
    dmic: Any, folder: Path, tmp_path: Path
) -> None:
    clash = ("--envs", 8, "--maps", 5)
    told = error_line(dmic("finetune", "--data", folder, "--out", tmp_path / "out", *clash))
    assert "--envs 8 is no multiple of --maps 5. Nearest: --envs 10" in told


@pytest.mark.parametrize(("from_nothing", "first"), [(True, 0.01), (False, 0.0025)])
def test_a_policy_that_has_learned_explores_less(from_nothing: bool, first: float) -> None:
    chosen = reinforcement(
        "images", None, None, None, True, None, "medium", from_nothing=from_nothing
    )
    assert chosen["entropy"][0] == first > chosen["entropy"][1]


def test_a_range_stands_for_its_integers() -> None:
    assert integers_of("--qps", "22, 26..28,40") == [22, 26, 27, 28, 40]
    with pytest.raises(InvalidInputError, match=r"--qps 26..47"):
        integers_of("--qps", "26-47")
