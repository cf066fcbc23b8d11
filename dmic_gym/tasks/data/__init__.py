"""Where samples and clips come from: synthetic angiograms, folders and known data sets."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.sample import Sample

if TYPE_CHECKING:
    from dmic_gym.tasks.data.arcade import Arcade
    from dmic_gym.tasks.data.clips.davis import DavisClips
    from dmic_gym.tasks.data.clips.folder import ClipFolder
    from dmic_gym.tasks.data.clips.phantoms import PhantomClips
    from dmic_gym.tasks.data.clips.registry import load_clips
    from dmic_gym.tasks.data.davis import Davis
    from dmic_gym.tasks.data.dca1 import DCA1
    from dmic_gym.tasks.data.folder import ImageFolder
    from dmic_gym.tasks.data.phantoms.dataset import Phantoms
    from dmic_gym.tasks.data.registry import load_dataset

__all__ = [
    "DCA1",
    "Arcade",
    "Clip",
    "ClipFolder",
    "Davis",
    "DavisClips",
    "ImageFolder",
    "PhantomClips",
    "Phantoms",
    "Sample",
    "load_clips",
    "load_dataset",
]

_LAZY = {
    "Arcade": "dmic_gym.tasks.data.arcade",
    "ClipFolder": "dmic_gym.tasks.data.clips.folder",
    "DCA1": "dmic_gym.tasks.data.dca1",
    "Davis": "dmic_gym.tasks.data.davis",
    "DavisClips": "dmic_gym.tasks.data.clips.davis",
    "ImageFolder": "dmic_gym.tasks.data.folder",
    "PhantomClips": "dmic_gym.tasks.data.clips.phantoms",
    "Phantoms": "dmic_gym.tasks.data.phantoms.dataset",
    "load_clips": "dmic_gym.tasks.data.clips.registry",
    "load_dataset": "dmic_gym.tasks.data.registry",
}


def __getattr__(name: str) -> object:
    """Import the modules that need cv2 only when one of their names is asked for (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
