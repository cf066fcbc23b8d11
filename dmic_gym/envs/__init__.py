"""Gymnasium environments, their observations and rewards."""

from __future__ import annotations

from dmic_gym.envs.registration import ENV_ID, MAP_ENV_ID, VIDEO_ENV_ID, register

__all__ = ["ENV_ID", "MAP_ENV_ID", "VIDEO_ENV_ID", "register"]
