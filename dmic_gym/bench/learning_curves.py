"""Learning curves, drawn from what training runs log (``learning.jsonl``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from dmic_gym.agents.training.learning_log import LEARNING, read_log
from dmic_gym.bench.style import Look, drawing, looks_of, quiet, short
from dmic_gym.errors import DataError
from dmic_gym.types import Floats

Log = Sequence[Mapping[str, Any]]
"""The lines of a ``learning.jsonl``; see `LearningLog`."""

JUDGED = "bd_rate"
"""What is judged on held-out images now and then; all else is logged after each rollout."""

PANELS = {
    JUDGED: "BD-rate on held-out images, %",
    "reward": "reward of an episode",
    "entropy": "entropy of the actions, nats",
    "uniform_maps": "share of maps with one QP",
}
"""What is drawn, and its words."""

_SIZE = (9.0, 5.2)
_SMOOTHED = 0.04
"""Share of the updates that a running mean is taken over."""


def read_learning(runs: Sequence[str | Path]) -> dict[str, Log]:
    """Return the logs of training runs by the folder that was given.

    Args:
        runs: folders of ``dmic pretrain`` or ``dmic finetune``.

    Raises:
        DataError: a folder has no log.
    """
    found: dict[str, Log] = {}
    for folder in map(Path, runs):
        log = read_log(folder / LEARNING)
        if not log:
            raise DataError(
                f"{folder / LEARNING} is missing or empty: pass the --out folder of a training "
                "that has taken A2C steps."
            )
        found[str(folder)] = log
    return found


def draw_learning(logs: Mapping[str, Log]) -> Figure:
    """Draw the course of one or more trainings by step, each quantity of `PANELS` in its own panel.

    Quantities of single updates scatter: a running mean is drawn over them.

    Args:
        logs: by name; the first one is drawn in front.
    """
    names = list(logs)
    looks = looks_of(names, anchor="", accent=names[0])
    with drawing():
        figure = Figure(figsize=_SIZE, layout="constrained", facecolor="white")
        for axes, (key, words) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
            for name, log in logs.items():
                _curve(axes, name, looks[name], *_series(log, key), smoothed=key != JUDGED)
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.xaxis.set_major_locator(MaxNLocator(6))
            quiet(axes, "training steps (CTUs)", words)
        figure.axes[-1].set_ylim(-0.03, 1.03)
        if len(names) > 1:
            labels = figure.axes[0].get_legend_handles_labels()
            figure.legend(*labels, loc="outside upper center", ncol=4)
        return figure


def _series(log: Log, key: str) -> tuple[Floats, Floats]:
    """Return steps and values of a quantity, where it has any."""
    if key == JUDGED:
        pairs = [(one["steps"], one["held_out"][key]) for one in log if "held_out" in one]
    else:
        pairs = [(one["steps"], one[key]) for one in log if key in one]
    found = np.array([pair for pair in pairs if pair[1] is not None], np.float64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _curve(
    axes: Axes, name: str, look: Look, steps: Floats, values: Floats, *, smoothed: bool
) -> None:
    colours: dict[str, Any] = {"color": look.colour, "zorder": look.front}
    marker = "" if smoothed else look.marker
    if smoothed:
        axes.plot(steps, values, lw=0.6, alpha=0.25, **colours)
        values = _running_mean(values, int(_SMOOTHED * len(values)))
    axes.plot(steps, values, marker=marker, lw=look.width, label=short(name), **colours)


def _running_mean(values: Floats, window: int) -> Floats:
    """Return the mean of each value and up to `window` neighbours on either side."""
    totals = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first = np.maximum(places - window, 0)
    last = np.minimum(places + window + 1, len(values))
    return np.asarray((totals[last] - totals[first]) / (last - first))
