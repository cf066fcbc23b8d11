"""``dmic pretrain`` on clips, as a user runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dmic_gym.agents.training.learn import VALUE_TABLES
from dmic_gym.agents.training.learning_log import LEARNING, read_log
from dmic_gym.agents.training.value_tables import read_value_tables
from dmic_gym.tasks.segmenters.weights import read_card
from tests.support import error_line

CLIPS = "phantom-clips?count=2&size=64&frames=2&seed=3"
TINY = (
    "--segmenter", "tests.support:vesselness", "--ctu", "32", "--preset", "ultrafast",
    "--steps", "16", "--envs", "2", "--maps", "2", "--device", "cpu",
)  # fmt: skip


def test_both_levels_are_trained_and_named_for_the_bench(dmic: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, said, err = dmic("pretrain", "--data", CLIPS, "--out", out, "--name", "tiny", *TINY)
    assert code == 0, err
    ctu, frame = out / "ctu/tiny-ctu.safetensors", out / "frame/tiny-frame.safetensors"
    assert f"levels:{frame}:{ctu}" in said
    card = read_card(ctu)
    assert card.data == [f"{CLIPS} (2 clips)", "segmenter tests.support:vesselness"]
    assert card.metrics["config"]["base_qps"] == list(range(22, 48))
    assert card.architecture == "DMICPolicy"
    line = error_line(dmic("pretrain", "--data", CLIPS, "--out", out, "--name", "tiny", *TINY))
    assert "pass --resume" in line


def test_bad_arguments_are_one_clear_line(dmic: Any, tmp_path: Path) -> None:
    base = ("pretrain", "--data", CLIPS, "--out", tmp_path / "run", *TINY)
    assert "Did you mean 'levels'" in error_line(dmic(*base, "--mode", "level"))
    assert "epochs=0" in error_line(dmic(*base, "--epochs", "3"))
    assert "--data once" in error_line(dmic(*base, "--data", "phantoms"))
    assert "keep back between 0 and 1" in error_line(dmic(*base, "--held-out", "2"))
    assert "--variations is of images" in error_line(dmic(*base, "--variations", "9"))
    assert "--turns is of --mode levels" in error_line(
        dmic(*base, "--turns", "2", "--mode", "stills")
    )
    images = ("pretrain", "--data", "phantoms?count=2&size=64", "--out", tmp_path / "run", *TINY)
    assert "--mode is of clips" in error_line(dmic(*images, "--mode", "stills"))


def test_stills_are_learned_from_and_serve_the_ctu_level(dmic: Any, tmp_path: Path) -> None:
    data = ("pretrain", "--data", "phantom-clips?count=3&size=64&frames=3&seed=3")
    out, tiny = tmp_path / "run", (*data, *TINY, "--name", "tiny")
    stills = (*tiny, "--out", out, "--mode", "stills", "--epochs", "1", "--held-out", "1")
    code, said, err = dmic(*stills)
    assert code == 0, err
    weights = out / "tiny.safetensors"
    assert f"levels::{weights}" in said
    card = read_card(weights)
    assert card.data == [f"{data[2]} (frames of 2 clips)", "segmenter tests.support:vesselness"]
    assert card.metrics["images"] == 4
    assert card.metrics["config"]["base_qps"] == list(range(26, 48))
    tables = read_value_tables(out / VALUE_TABLES)
    learned, names = card.metrics["stills_of"], [table.name for table in tables]
    assert len(learned) == 2
    assert sorted(names) == [f"{clip}/{frame:05}" for clip in learned for frame in (1, 2)]
    assert "held_out" in read_log(out / LEARNING)[-1]
    assert "pass --resume" in error_line(dmic(*stills))
    code, _, err = dmic(*tiny, "--out", tmp_path / "ctu", "--mode", "ctu", "--weights", weights)
    assert code == 0, err
    start = read_card(tmp_path / "ctu/ctu/tiny-ctu.safetensors").metrics["start"]
    assert start.startswith("tiny.safetensors ")
