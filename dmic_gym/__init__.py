"""Diagnosis-oriented bit allocation inside a real HEVC encoder, as Gymnasium environments.

``import dmic_gym`` registers the environments and loads neither torch nor a codec.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from dmic_gym.envs import register

if TYPE_CHECKING:
    from dmic_gym.agents.policy.freeze import PartialFreezeCallback
    from dmic_gym.agents.policy.loading import load_policy
    from dmic_gym.deploy.api import decode, encode
    from dmic_gym.envs.sb3 import make_sb3_vec
    from dmic_gym.tasks.data import Sample

__version__ = "0.1.0"
__all__ = [
    "PartialFreezeCallback",
    "Sample",
    "__version__",
    "decode",
    "encode",
    "load_policy",
    "make_sb3_vec",
]

_LAZY = {
    "PartialFreezeCallback": "dmic_gym.agents.policy.freeze",
    "Sample": "dmic_gym.tasks.data.sample",
    "decode": "dmic_gym.deploy.api",
    "encode": "dmic_gym.deploy.api",
    "load_policy": "dmic_gym.agents.policy.loading",
    "make_sb3_vec": "dmic_gym.envs.sb3",
}

register()


def __getattr__(name: str) -> object:
    """Import what needs heavy packages only when it is asked for (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
