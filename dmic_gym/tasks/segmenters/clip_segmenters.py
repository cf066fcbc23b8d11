"""Segmenters of clips: for each clip a head that never saw it, tuned on its first mask."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dmic_gym.errors import DataError, InvalidInputError, WeightsError
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.segmenters.backbone import SHA256, load_backbone
from dmic_gym.tasks.segmenters.clip_head import ARCHITECTURE, ClipHead, ClipNet, load_head
from dmic_gym.tasks.segmenters.folds import joined
from dmic_gym.tasks.segmenters.network import NetworkSegmenter, pick_device, pick_dtype
from dmic_gym.tasks.segmenters.protocol import PerClipSegmenter
from dmic_gym.tasks.segmenters.tuning import HeadRecipe, tune
from dmic_gym.tasks.segmenters.weights import Card, read_card, save_weights
from dmic_gym.types import Mask


class ClipSegmenters(PerClipSegmenter):
    """Heads over one backbone, each tuned on the first mask of the clip that it segments.

    A clip that a fold was trained without, which is told by its name, gets that fold; every other
    clip gets the network that was trained on all sequences. Tuned heads are kept in memory and on
    disk, by the content of frame, mask, parent and settings.

    Args:
        folder: of the weights that ``dmic train-clip-segmenter`` wrote.
        device: of the networks; tuning is done on the CPU.
        dtype: of the networks; tuning is done in float32.
        tuning: how heads are tuned.
        cache: folder for tuned heads; default ``tuned-heads`` in ``pooch.os_cache("dmic_gym")``,
            which ``XDG_CACHE_HOME`` moves. One that cannot be written is done without.

    Raises:
        InvalidInputError: the folder holds no such weights.
        WeightsError: a card there is damaged.
    """

    in_parallel = True
    """Frames come one by one."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        device: str = "auto",
        dtype: str = "auto",
        *,
        tuning: HeadRecipe | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        self.folder, self.device, self.dtype = Path(folder), device, dtype
        self.tuning = tuning or HeadRecipe()
        self.cache = default_cache() if cache is None else Path(cache)
        self._cards = head_cards(self.folder)
        self._segmenters: dict[str, NetworkSegmenter] = {}
        self._lock = threading.Lock()
        if not self._cards:
            raise InvalidInputError(
                f"There are no heads in {folder}. Pass the folder that dmic train-clip-segmenter "
                "wrote, or the shipped 'davis-net'."
            )

    def path_of(self, name: str) -> Path:
        """Return the weights that are tuned for a clip: of the fold without it, or of all.

        Raises:
            InvalidInputError: all weights of the folder were trained on a clip of that name.
        """
        seen = {path: card.metrics.get("trained_on", ()) for path, card in self._cards.items()}
        fitting = [path for path, names in seen.items() if name not in names]
        if not fitting:
            raise InvalidInputError(
                f"All heads in {self.folder} were trained on {name!r}. Train folds: dmic "
                "train-clip-segmenter --folds 4, or give the clip another name if it is another."
            )
        return max(fitting, key=lambda path: len(seen[path]))

    def for_clip(self, clip: Clip) -> NetworkSegmenter:
        """Return the segmenter of a clip, tuned on its first frame and mask.

        Raises:
            InvalidInputError: the clip has no first mask, or an empty one.
            MissingDependencyError: a package of the extra ``video`` is not installed.
        """
        mask, path = _first_mask(clip), self.path_of(clip.name)
        key = self._key(clip, mask, path)
        with self._lock:
            if key not in self._segmenters:
                self._segmenters[key] = self._segmenter(clip, mask, path, key)
            return self._segmenters[key]

    def describe(self) -> dict[str, str]:
        """Return the names and one hash of all heads and of how they are tuned."""
        described = [{"name": c.name, "sha256": c.sha256} for c in self._cards.values()]
        tuning = hashlib.sha256(json.dumps(asdict(self.tuning)).encode()).hexdigest()
        found = joined([*described, {"name": "tuning", "sha256": tuning}], self.dtype)
        return found | {"name": self.folder.name}

    def __repr__(self) -> str:
        return f"ClipSegmenters({str(self.folder)!r})"

    def _key(self, clip: Clip, mask: Mask, path: Path) -> str:
        digest = hashlib.sha256(clip.frames[0].tobytes() + mask.tobytes())
        settings = (clip.shape, asdict(self.tuning), self._cards[path].sha256, SHA256)
        digest.update(json.dumps([*settings, torch.__version__]).encode())
        return digest.hexdigest()

    def _segmenter(self, clip: Clip, mask: Mask, path: Path, key: str) -> NetworkSegmenter:
        head = self._tuned(clip, mask, path, key)
        device = pick_device(self.device)
        dtype = pick_dtype(self.dtype, device)
        backbone = load_backbone(str(device), getattr(torch, dtype))
        card = replace(self._cards[path], sha256=_fingerprint(head))
        segmenter = NetworkSegmenter(ClipNet(backbone, head), str(device), dtype)
        segmenter.card = card
        return segmenter

    def _tuned(self, clip: Clip, mask: Mask, path: Path, key: str) -> ClipHead:
        with suppress(WeightsError):
            return load_head(self.cache / f"{key}.safetensors")[0]
        parent, card = load_head(path)
        head = tune(parent, load_backbone(), clip.frames[0], mask, self.tuning)
        with suppress(DataError, OSError):
            save_weights(head.state_dict(), replace(card, name=key, metrics={}), self.cache)
        return head

    def __reduce__(self) -> Any:
        again = partial(type(self), tuning=self.tuning, cache=self.cache)
        return again, (self.folder, self.device, self.dtype)


def head_cards(folder: Path) -> dict[Path, Card]:
    """Return the cards of the heads in a folder by the paths of their weights.

    Raises:
        WeightsError: a card there is damaged.
    """
    cards = {path: read_card(path) for path in sorted(folder.glob("*.safetensors"))}
    return {path: card for path, card in cards.items() if card.architecture == ARCHITECTURE}


def default_cache() -> Path:
    """Return the folder of tuned heads in the user's cache."""
    import pooch

    return Path(pooch.os_cache("dmic_gym")) / "tuned-heads"


def _first_mask(clip: Clip) -> Mask:
    mask = clip.first_mask
    if mask is not None and mask.any():
        return mask
    lack = "no first mask" if mask is None else "an empty first mask"
    raise InvalidInputError(
        f"Clip {clip.name!r} has {lack}, and this segmenter is told the object by it. Pass "
        "Clip(frames, first_mask=mask) with the object in frame 0 as True, or a plain segmenter."
    )


def _fingerprint(head: ClipHead) -> str:
    digest = hashlib.sha256()
    for tensor in head.state_dict().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
