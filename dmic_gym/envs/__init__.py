"""Gymnasium environments, their observations and rewards."""

from __future__ import annotations

import gymnasium as gym

ENV_ID = "CodingEnv-v0"
MAP_ENV_ID = "CodingMapEnv-v0"
VIDEO_ENV_ID = "VideoCodingEnv-v0"


def register() -> None:
    """Make the ids known to Gymnasium; doing it twice is harmless."""
    if ENV_ID not in gym.registry:
        gym.register(
            ENV_ID,
            entry_point="dmic_gym.envs.coding_env:CodingEnv",
            vector_entry_point="dmic_gym.envs.vector_env:CodingVectorEnv",
        )
    if MAP_ENV_ID not in gym.registry:
        gym.register(MAP_ENV_ID, entry_point="dmic_gym.envs.map_env:CodingMapEnv")
    if VIDEO_ENV_ID not in gym.registry:
        gym.register(
            VIDEO_ENV_ID,
            entry_point="dmic_gym.envs.video_env:VideoCodingEnv",
            vector_entry_point="dmic_gym.envs.video_vector_env:VideoCodingVectorEnv",
        )
