"""Learning curves show what a run has logged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmic_gym.bench.learning_curves import PANELS, draw_learning, read_learning
from dmic_gym.errors import DataError


def written(folder: Path, updates: int, judged: dict[int, float | None]) -> Path:
    """Write a log of one step an update; the reward grows by 1 each time."""
    lines: list[dict[str, Any]] = [
        {"steps": step, "reward": float(step), "entropy": None if step == 1 else 1.0 / step,
         "uniform_maps": 0.25, "bits_share": 0.5, "seconds": 1.0}
        for step in range(1, updates + 1)
    ]  # fmt: skip
    lines += [{"steps": step, "held_out": {"bd_rate": rate}} for step, rate in judged.items()]
    folder.mkdir(parents=True)
    (folder / "learning.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def curves(figure: Any, panel: str) -> dict[str, Any]:
    axes = figure.axes[list(PANELS).index(panel)]
    lines = {line.get_label(): np.asarray(line.get_xydata()) for line in axes.get_lines()}
    return {name: points for name, points in lines.items() if not name.startswith("_")}


def test_each_run_has_its_curve_in_each_panel(tmp_path: Path) -> None:
    one = written(tmp_path / "one", 100, {0: -10.0, 50: None, 100: -30.0})
    other = written(tmp_path / "other", 3, {0: -20.0})
    logs = dict(zip(("one", "other"), read_learning([one, other]).values(), strict=True))
    figure = draw_learning(logs)
    assert all(set(curves(figure, panel)) == set(logs) for panel in PANELS)
    assert curves(figure, "bd_rate")["one"].tolist() == [[0, -10], [100, -30]]
    assert len(curves(figure, "entropy")["one"]) == 99
    reward = curves(figure, "reward")["one"]
    np.testing.assert_allclose(reward[10:90, 1], np.arange(11, 91))  # the mean of a straight line
    assert reward[0, 1] > 1.0
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "other"]


def test_a_folder_without_a_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing or empty"):
        read_learning([tmp_path])
