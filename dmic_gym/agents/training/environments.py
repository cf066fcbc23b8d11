"""The environment that a training run learns in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.envs.sb3 import SB3LockstepVecEnv, SB3VideoVecEnv, make_sb3_vec
from dmic_gym.envs.video_level_vector import VideoLevelVectorEnv
from dmic_gym.envs.video_levels import Predictor
from dmic_gym.envs.video_observations import CTU_LEVEL, FRAME_LEVEL
from dmic_gym.envs.video_vector_env import VideoCodingVectorEnv
from dmic_gym.tasks.segmenters.protocol import SegmenterSpec

TrainingEnv: TypeAlias = SB3LockstepVecEnv[Any]

REWARD = "priced"
"""See `dmic_gym.envs.rewards.PricedReward`."""


def make_training_env(
    config: TrainingConfig,
    dataset: Sequence[Any],
    segmenter: SegmenterSpec,
    other: Predictor | None = None,
    workers: int | None = None,
) -> TrainingEnv:
    """Return the environments of a run, seeded.

    Args:
        config: of the run.
        dataset: images or, where the configuration has a mode, clips.
        segmenter: judges the decoded pictures.
        other: plays the level of video that is not trained.
        workers: threads that encode and segment; None: one a processor.

    Raises:
        InvalidInputError: an argument is not valid.
    """
    shared: dict[str, Any] = {
        "dataset": dataset,
        "segmenter": segmenter,
        "ctu_size": config.ctu_size,
        "base_qps": config.base_qps,
        "reward": REWARD,
        "preset": config.preset,
        "maps_per_image": config.maps,
        "workers": workers,
    }
    if config.mode is None:
        return make_sb3_vec(config.envs, seed=config.seed, **shared)
    if other is None:
        env = VideoCodingVectorEnv(config.envs, mode=config.mode, **shared)
    else:
        level = FRAME_LEVEL if config.mode == "frame" else CTU_LEVEL
        env = VideoLevelVectorEnv(level, other, config.envs, **shared)
    made = SB3VideoVecEnv(env)
    made.seed(config.seed)
    return made


def episode_steps(env: TrainingEnv, config: TrainingConfig) -> int:
    """Return how many steps an episode has on the data set's first image or clip."""
    first = env.env.dataset[0]
    rows, cols = env.env.evaluator.map_shape(first)
    if config.mode is None:
        return int(rows * cols)
    frames = min(env.env.gop, len(first))
    in_frame = {"frame": 1, "ctu": rows * cols, "hierarchical": rows * cols + 1}[config.mode]
    return int(frames * in_frame)
