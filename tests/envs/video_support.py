"""Small clips, and environments and evaluators of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dmic_gym.codecs.hevc.x265 import X265Codec
from dmic_gym.envs.video_env import VideoCodingEnv
from dmic_gym.envs.video_evaluator import Importance, VideoEvaluator
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.phantoms.dataset import Phantoms
from tests.support import vesselness

SHAPE = (64, 96)
QP = 32


def moving_clip(count: int = 4, seed: int = 0, masks: bool = True, name: str = "moving") -> Clip:
    """A window of 64x96 that moves over a phantom, two pixels a frame."""
    sample = Phantoms(1, (80, 130), seed)[0]
    assert sample.mask is not None
    windows = [np.s_[n : n + SHAPE[0], 2 * n : 2 * n + SHAPE[1]] for n in range(count)]
    return Clip(
        np.stack([sample.image[window] for window in windows]),
        np.stack([sample.mask[window] for window in windows]) if masks else None,
        name=name,
    )


def small_evaluator(importance: Importance = "previous") -> VideoEvaluator:
    """Six CTUs a frame, fast, and a segmenter without weights."""
    return VideoEvaluator(X265Codec(32, "ultrafast"), vesselness, importance=importance)


def small_video_env(**settings: Any) -> VideoCodingEnv:
    """Groups of three frames of six CTUs, and a segmenter without weights."""
    chosen: dict[str, Any] = {
        "dataset": [moving_clip(5)],
        "segmenter": vesselness,
        "gop": 3,
        **({} if "codec" in settings else {"ctu_size": 32, "preset": "ultrafast"}),
    }
    return VideoCodingEnv(**(chosen | settings))


def play_video(env: Any, choose: Callable[[Any], int], **reset: Any) -> list[tuple[float, Any]]:
    """Play one episode; return reward and info of each step that coded a frame."""
    observation, _ = env.reset(**reset)
    ends = []
    while True:
        observation, reward, terminated, truncated, info = env.step(choose(observation))
        if info:
            ends.append((float(reward), info))
        if terminated or truncated:
            return ends
