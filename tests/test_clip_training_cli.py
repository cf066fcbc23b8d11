"""``dmic pretrain`` on clips, as a user runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
