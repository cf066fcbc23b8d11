"""Diagnosis-oriented bit allocation inside a real HEVC encoder, as Gymnasium environments.

``import dmic_gym`` registers the environments, as soon as Gymnasium is imported, and loads neither
torch nor a codec.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from dmic_gym.envs.registration import register_on_import

if TYPE_CHECKING:
    from dmic_gym.agents.policy.freeze import PartialFreezeCallback
    from dmic_gym.agents.policy.loading import load_policy, save_policy
    from dmic_gym.codecs.hevc.x265 import X265Codec
    from dmic_gym.deploy.api import decode, encode
    from dmic_gym.envs.sb3 import make_sb3_vec, make_sb3_video_vec
    from dmic_gym.tasks.data.clip import Clip
    from dmic_gym.tasks.data.clips.registry import load_clips
    from dmic_gym.tasks.data.registry import load_dataset
    from dmic_gym.tasks.data.sample import Sample
    from dmic_gym.tasks.segmenters.find import find_segmenter as load_segmenter

__version__ = "0.1.0"
__all__ = [
    "Clip",
    "PartialFreezeCallback",
    "Sample",
    "X265Codec",
    "__version__",
    "decode",
    "encode",
    "load_clips",
    "load_dataset",
    "load_policy",
    "load_segmenter",
    "make_sb3_vec",
    "make_sb3_video_vec",
    "save_policy",
]

_LAZY = {
    "Clip": "tasks.data.clip",
    "PartialFreezeCallback": "agents.policy.freeze",
    "Sample": "tasks.data.sample",
    "X265Codec": "codecs.hevc.x265",
    "decode": "deploy.api",
    "encode": "deploy.api",
    "load_clips": "tasks.data.clips.registry",
    "load_dataset": "tasks.data.registry",
    "load_policy": "agents.policy.loading",
    "load_segmenter": "tasks.segmenters.find",
    "make_sb3_vec": "envs.sb3",
    "make_sb3_video_vec": "envs.sb3",
    "save_policy": "agents.policy.loading",
}

register_on_import()


def __getattr__(name: str) -> object:
    """Import what needs heavy packages only when it is asked for (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_LAZY[name]}")
    return getattr(module, "find_segmenter" if name == "load_segmenter" else name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
