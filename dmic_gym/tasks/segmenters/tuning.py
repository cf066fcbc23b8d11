"""Tuning of a head on the one frame of a clip whose mask is given."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from dmic_gym.tasks.segmenters.backbone import Backbone
from dmic_gym.tasks.segmenters.clip_head import ClipHead, padded
from dmic_gym.tasks.segmenters.fit import segmentation_loss
from dmic_gym.tasks.threads import one_torch_thread
from dmic_gym.types import Floats, Image, Mask, Plane

_ONE_THREAD = threading.Lock()


@dataclass(frozen=True)
class HeadRecipe:
    """How a head is fitted to the cached features of frames.

    Attributes:
        steps: gradient steps.
        views: of each frame: itself and variations (mirroring, shift, scale, rotation, light).
        batch: views in a step.
        learning_rate: the peak of a one-cycle schedule (AdamW).
        seed: of the variations and their order.
    """

    steps: int = 100
    views: int = 16
    batch: int = 2
    learning_rate: float = 6e-3
    seed: int = 0


@dataclass(frozen=True)
class View:
    """The features of a frame and its mask.

    Attributes:
        features: what `Backbone` returns, N = 1.
        mask: float (1, 1, H, W) of the padded frame, 0 or 1.
    """

    features: tuple[Tensor, ...]
    mask: Tensor


def tune(
    head: ClipHead, backbone: Backbone, frame: Image, mask: Mask, recipe: HeadRecipe
) -> ClipHead:
    """Return a copy of a head that knows the object of a frame.

    The features of all views are computed once. It runs on the CPU in float32 with one thread of
    torch, so the same arguments, torch version and kind of processor give the same weights.

    Args:
        head: the parent.
        backbone: float32, on the CPU.
        frame: uint8 (H, W).
        mask: bool (H, W).
        recipe: how.
    """
    rng = np.random.default_rng(recipe.seed)
    with one_thread():
        views = views_of(backbone, frame, mask, recipe.views, rng)
        return fit_head(copy.deepcopy(head), views, recipe, rng)


def fit_head(
    head: ClipHead, views: Sequence[View], recipe: HeadRecipe, rng: np.random.Generator
) -> ClipHead:
    """Take the steps of a recipe on random batches of views, in place; return the head."""
    head.to(memory_format=torch.channels_last).train().requires_grad_(True)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(head.parameters(), recipe.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=max(recipe.steps, 2), pct_start=0.1
    )
    batch = min(recipe.batch, len(views))
    for _ in range(recipe.steps):
        chosen = [views[k] for k in rng.choice(len(views), batch, replace=False)]
        loss = segmentation_loss(head(stacked(chosen)), torch.cat([v.mask for v in chosen]))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return head.eval().requires_grad_(False)


def views_of(
    backbone: Backbone, frame: Image, mask: Mask, count: int, rng: np.random.Generator
) -> list[View]:
    """Compute the features of a frame and of variations of it, `count` in all."""
    pairs = [(frame, mask), *(vary(frame, mask, rng) for _ in range(count - 1))]
    return [_view(backbone, *pair) for pair in pairs]


def _view(backbone: Backbone, frame: Image, mask: Mask) -> View:
    planes = (frame.astype(np.float32) / 255.0, mask.astype(np.float32))
    image, target = (padded(torch.from_numpy(plane)[None, None]) for plane in planes)
    with torch.no_grad():
        return View(tuple(backbone(image)), target)


def stacked(views: Sequence[View]) -> list[Tensor]:
    """Return the features of several views as one batch."""
    parts = zip(*(v.features for v in views), strict=True)
    return [torch.cat(part).contiguous(memory_format=torch.channels_last) for part in parts]


def vary(frame: Image, mask: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """Return a frame and its mask mirrored, moved, scaled, turned, and the frame lit otherwise."""
    where = _geometry(frame.shape, rng)
    picture = _warped(frame.astype(np.float32) / 255.0, where)
    gamma, gain = np.exp(rng.uniform(-0.25, 0.25)), rng.uniform(0.9, 1.1)
    levels = np.clip(255.0 * gain * picture.clip(0.0, 1.0) ** gamma, 0.0, 255.0)
    return levels.round().astype(np.uint8), _warped(mask.astype(np.float32), where) > 0.5


def _geometry(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return an affine map (2, 3) of pixel coordinates."""
    height, width = shape
    scale, angle = np.exp(rng.uniform(-0.25, 0.25)), rng.uniform(-10.0, 10.0)
    where = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale), np.float64)
    where[:, 2] += rng.uniform(-0.12, 0.12, 2) * np.array([width, height])
    if rng.integers(2):
        where = where @ np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return np.asarray(where)


def _warped(plane: Plane, where: Floats) -> Plane:
    size = plane.shape[::-1]
    border = cv2.BORDER_REFLECT_101 if min(size) > 1 else cv2.BORDER_REPLICATE
    return np.asarray(cv2.warpAffine(plane, where, size, borderMode=border), np.float32)


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch use one thread, and one caller at a time."""
    with _ONE_THREAD, one_torch_thread():
        yield
