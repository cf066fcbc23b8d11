"""The one parser of "which segmenter", and the one description of a segmenter for records."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.io import expanded, load_instance, qualified_name, source_sha256
from dmic_gym.tasks.segmenters.protocol import (
    PerClipSegmenter,
    PerSampleSegmenter,
    Segmenter,
    SegmenterSpec,
)

DEFAULT = "unet"
"""The shipped network that segments where none is named."""


def find_segmenter(
    spec: SegmenterSpec = None, *, device: str = "auto", dtype: str = "auto"
) -> Segmenter:
    """Return a segmenter from what a user would type.

    Args:
        spec: a shipped name (``"unet"``), the path of a ``.safetensors`` file that
            ``dmic train-segmenter`` wrote, a folder of folds or its shipped name (see
            `FoldSegmenters`), or of heads for clips (``"davis-net"``, see `ClipSegmenters`),
            ``module:object``, any callable with uint8 (N, H, W) in and float32 (N, H, W) out, or
            None for the shipped network. A network is loaded once in a process and shared.
        device: of a network: a torch device, or "auto".
        dtype: of a network: "float32", "bfloat16", or "auto" for what this processor does fastest.
            Machines agree to the last bit in "float32" alone.

    Raises:
        InvalidInputError: there is none of that name, or it cannot be called.
        WeightsError: the weights are missing, damaged or do not fit.
    """
    if spec is not None and not isinstance(spec, str | os.PathLike):
        return _callable(spec, type(spec).__name__)
    text = DEFAULT if spec is None else expanded(os.fspath(spec))
    if ":" in text and not Path(text).exists():
        return _callable(load_instance(text), text)
    from dmic_gym.tasks.segmenters.folds import folds_folder, shipped_folders

    if (folder := folds_folder(text)) is not None:
        return _of_folder(folder, device, dtype)
    from dmic_gym.tasks.segmenters.network import shared_segmenter
    from dmic_gym.tasks.segmenters.weights import shipped_names

    if not Path(text).suffix and text not in (names := shipped_names()):
        choices = [*names, *shipped_folders(), "PATH/NAME.safetensors", "FOLDER", "module:object"]
        raise unknown_name("segmenter", text, choices)
    return shared_segmenter(text, device, dtype)


def _of_folder(folder: Path, device: str, dtype: str) -> Segmenter:
    from dmic_gym.tasks.segmenters.clip_segmenters import ClipSegmenters, head_cards
    from dmic_gym.tasks.segmenters.folds import FoldSegmenters

    return (ClipSegmenters if head_cards(folder) else FoldSegmenters)(folder, device, dtype)


def _callable(found: Any, name: str) -> Segmenter:
    if not callable(found):
        raise InvalidInputError(
            "segmenter must be a name, a path of weights, a folder of folds, module:object or a "
            f"callable, uint8 (N, H, W) -> float32 (N, H, W), got {name}."
        )
    segmenter: Segmenter = found
    return segmenter


def describe_segmenter(segmenter: Any) -> dict[str, str]:
    """Return what identifies a segmenter in records.

    Returns:
        ``name``, ``sha256`` (of the weights; of the source file where there are none) and, of a
        network, ``dtype``.
    """
    if isinstance(segmenter, PerSampleSegmenter | PerClipSegmenter):
        return segmenter.describe()
    card = getattr(segmenter, "card", None)
    if card is None:
        return {"name": qualified_name(segmenter), "sha256": source_sha256(segmenter)}
    return {"name": card.name, "sha256": card.sha256, "dtype": segmenter.dtype_name}
