"""The course of a training, line by line: what a learning curve is drawn from."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

LEARNING = "learning.jsonl"


@dataclass(frozen=True)
class HeldOut:
    """Judging a policy on images it does not learn from, while it learns.

    Attributes:
        judge: takes the model, returns figures, JSON values.
        every: updates between two judgements.
    """

    judge: Callable[[BaseAlgorithm], Mapping[str, Any]]
    every: int


class LearningLog(BaseCallback):
    """Write a line of JSON after each rollout, and figures on held-out images now and then.

    A line holds ``steps``, ``seconds`` of training over all parts of the run, ``reward`` (mean of
    the rollout's episodes, null without one), ``uniform_maps`` (share of them that chose one QP for
    all CTUs), ``bits_share`` (bits by the anchor's) and ``entropy`` (of the update before). Lines
    of held-out figures hold ``steps``, ``seconds`` and ``held_out``.

    Args:
        path: JSON lines; those beyond the model's steps, of a part that was killed, are dropped.
        held_out: judges the policy at the first step, every so many updates, and at the end.
    """

    def __init__(self, path: Path, held_out: HeldOut | None = None) -> None:
        super().__init__()
        self._path, self._held_out = path, held_out
        self._before, self._started, self._updates, self._judged = 0.0, 0.0, 0, -1
        self._episodes: list[tuple[float, bool, float]] = []

    def _on_training_start(self) -> None:
        kept = [line for line in read_log(self._path) if line["steps"] <= self.num_timesteps]
        self._path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._before = kept[-1]["seconds"] if kept else 0.0
        self._updates = sum("reward" in line for line in kept)
        self._judged = max((line["steps"] for line in kept if "held_out" in line), default=-1)
        self._started = time.monotonic()

    def _on_rollout_start(self) -> None:
        if self._held_out is not None and self._updates % self._held_out.every == 0:
            self._judge(self._held_out)
        self._episodes = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "reward_terms" in info and "error" not in info:
                reward = float(sum(info["reward_terms"].values()))
                uniform = bool(np.ptp(info["qp_map"]) == 0)
                share = float(info["bits"] / info["anchor_bits"])
                self._episodes.append((reward, uniform, share))
        return True

    def _on_rollout_end(self) -> None:
        self._updates += 1
        means = np.mean(self._episodes, axis=0).tolist() if self._episodes else [None] * 3
        entropy = self.logger.name_to_value.get("train/entropy_loss")
        self._write(
            dict(zip(("reward", "uniform_maps", "bits_share"), means, strict=True))
            | {"entropy": None if entropy is None else -float(entropy)}
        )

    def _on_training_end(self) -> None:
        if self._held_out is not None:
            self._judge(self._held_out)

    def _judge(self, held_out: HeldOut) -> None:
        steps = self.model.num_timesteps
        if steps > self._judged:
            self._judged = steps
            self._write({"held_out": dict(held_out.judge(self.model))})

    def _write(self, figures: Mapping[str, Any]) -> None:
        seconds = round(self._before + time.monotonic() - self._started, 1)
        with self._path.open("a") as file:
            line = {"steps": self.model.num_timesteps, "seconds": seconds, **figures}
            file.write(json.dumps(line) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; a last one that was cut off is left out."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
