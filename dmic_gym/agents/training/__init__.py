"""Training a policy: supervised warm start, reinforcement learning, fine-tuning.

Reinforcement learning where each CTU is paid for what it did, with Stable-Baselines3's own A2C::

    from stable_baselines3 import A2C
    from dmic_gym import make_sb3_vec
    from dmic_gym.agents.training import CreditCallback

    env = make_sb3_vec(
        30, task="arcade", reward="priced", base_qps=range(26, 48), maps_per_image=5
    )
    model = A2C("MultiInputPolicy", env, n_steps=64, learning_rate=3e-4, use_rms_prop=False)
    model.learn(1_000_000, CreditCallback())

`n_steps` is the number of CTUs of an image, here of 512x512, so that a rollout holds whole
episodes: 6 images at a random base QP each, 5 maps of each, which are compared with one another.
With ``CreditCallback("critic")`` the critic's expectation takes the place of the comparison, and
`maps_per_image` may be left out. `PPO` works alike.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dmic_gym.agents.training.credit import CreditCallback, EntropySchedule

__all__ = ["CreditCallback", "EntropySchedule"]


def __getattr__(name: str) -> object:
    """Import what needs torch only when it is asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.credit"), name)
