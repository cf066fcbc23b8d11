"""Callbacks of a training run: what the last episodes were like, and what the GPU did."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from dmic_gym.agents.training.telemetry import GpuMonitor

ProgressCallback = Callable[[str, int, int, str], None]
"""Progress: stage, how much of it is done, how much there is, and a word on how it goes."""

_RECENT = 100


def silent(stage: str, done: int, total: int, word: str) -> None:
    """Take on_progress of nothing."""


class Episodes(BaseCallback):
    """Log what the last 100 episodes brought, and tell of steps and reward.

    Logged beside Stable-Baselines3's ``rollout/ep_rew_mean``, means over those episodes:
    ``episodes/dice_gain`` (Dice less the anchor's at the same base QP) and
    ``episodes/bits_share`` (bits by the anchor's); and ``episodes/failed``, how many a tool has
    failed so far, if any.

    Args:
        on_progress: told after each rollout.
        total: steps in all.
    """

    def __init__(self, on_progress: ProgressCallback, total: int) -> None:
        super().__init__()
        self._on_progress = on_progress
        self._total = total
        self._recent: deque[tuple[float, float, float]] = deque(maxlen=_RECENT)
        self._failed = 0

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "error" in info:
                self._failed += 1
            elif "reward_terms" in info:
                reward = float(sum(info["reward_terms"].values()))
                self._recent.append((reward, _dice_gain(info), _bits_share(info)))
        return True

    def _on_rollout_end(self) -> None:
        word = ""
        if self._recent:
            reward, gain, share = np.mean(self._recent, axis=0).tolist()
            self.logger.record("episodes/dice_gain", gain)
            self.logger.record("episodes/bits_share", share)
            word = f"reward {reward:+.3f}"
        if self._failed:
            self.logger.record("episodes/failed", self._failed)
            word += f" ({self._failed} failed)"
        self._on_progress("A2C", min(self.model.num_timesteps, self._total), self._total, word)


def _dice_gain(info: dict[str, Any]) -> float:
    """Return Dice less the anchor's; 0 for an image without expert mask."""
    return 0.0 if info["dice"] is None else float(info["dice"] - info["anchor_dice"])


def _bits_share(info: dict[str, Any]) -> float:
    return float(info["bits"] / info["anchor_bits"])


class TelemetryCallback(BaseCallback):
    """Log the GPU's name, or "no GPU", once and its figures at every rollout, as ``gpu/...``.

    Args:
        monitor: a running `GpuMonitor`.
    """

    def __init__(self, monitor: GpuMonitor) -> None:
        super().__init__()
        self.monitor = monitor

    def _on_training_start(self) -> None:
        self.logger.record("gpu/name", self.monitor.telemetry.gpu, exclude="csv")

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        figures = self.monitor.telemetry
        if figures.peak_bytes is not None:
            self.logger.record("gpu/peak_mib", figures.peak_bytes / 2**20)
            self.logger.record("gpu/utilisation", figures.utilisation)
        if figures.joules is not None:
            self.logger.record("gpu/joules", figures.joules)
