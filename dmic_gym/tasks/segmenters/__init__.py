"""Diagnosis networks: the protocol, loading, training, weights and the calibrated posterior."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from dmic_gym.tasks.segmenters.protocol import Segmenter, SegmenterSpec

if TYPE_CHECKING:
    from dmic_gym.tasks.segmenters.find import find_segmenter

__all__ = ["Segmenter", "SegmenterSpec", "find_segmenter"]


def __getattr__(name: str) -> object:
    """Import what needs torch only when it is asked for (PEP 562)."""
    if name != "find_segmenter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("dmic_gym.tasks.segmenters.find").find_segmenter
