"""The gradient loop that fits one network to one list of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.segmenters.augment import augment
from dmic_gym.tasks.segmenters.network import preferred_dtype


class Annotated(Protocol):
    """An image with its expert mask (a ``dmic_gym.tasks.data.Sample`` is one)."""

    @property
    def image(self) -> npt.NDArray[np.uint8]: ...  # noqa: D102
    @property
    def mask(self) -> npt.NDArray[np.bool_] | None: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Epoch:
    """Progress of a training run: epoch ``number`` of ``total`` of the network ``network``."""

    network: str
    number: int
    total: int
    loss: float
    seconds: float


Progress = Callable[[Epoch], None]


@dataclass(frozen=True)
class Recipe:
    """How a network is fitted.

    Attributes:
        epochs: passes over the samples.
        seed: seeds weights, order and augmentation.
        batch: images per step.
        size: side of the square training crops, pixels.
        learning_rate: the peak of a one-cycle schedule (AdamW).
        weight_decay: AdamW's.
        average: decay of the moving average of the weights, which is the result.
    """

    epochs: int = 300
    seed: int = 0
    batch: int = 4
    size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    average: float = 0.995


def fit(
    module: nn.Module,
    samples: Sequence[Annotated],
    recipe: Recipe,
    progress: Callable[[int, float], None] | None = None,
) -> nn.Module:
    """Fit ``module`` in place and return the moving average of its weights in eval mode.

    Same module, samples, recipe, torch version, machine and thread count: same weights. Where the
    processor has AVX512-BF16 the forward pass runs in bfloat16 autocast. torch's global random
    state is left as it was.

    Args:
        module: maps float (N, 1, H, W) in 0..1 to logits.
        samples: images with masks.
        recipe: how.
        progress: called after each epoch with its number from 1 and its mean loss.
    """
    steps = recipe.epochs * -(-len(samples) // recipe.batch)
    optimizer = torch.optim.AdamW(
        module.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=max(steps, 2), pct_start=0.1
    )
    with _seeded(recipe.seed):
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = AveragedModel(module, avg_fn=_moving(recipe.average), use_buffers=True)
        for number in range(1, recipe.epochs + 1):
            losses = []
            for images, masks in _batches(samples, recipe, number):
                losses.append(step(module.train(), optimizer, images, masks))
                schedule.step()
                average.update_parameters(module)
            if progress:
                progress(number, float(np.mean(losses)))
    return average.module.eval()


def step(
    module: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, masks: Tensor
) -> float:
    """Take one gradient step and return the loss before it."""
    images = images.to(memory_format=torch.channels_last)
    half = preferred_dtype(images.device) == "bfloat16"
    with torch.autocast(images.device.type, torch.bfloat16, enabled=half):
        logits = module(images)
    loss = segmentation_loss(logits.float(), masks)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy plus one minus the soft Dice of each image (Milletari 2016).

    Args:
        logits: float (N, 1, H, W).
        masks: float (N, 1, H, W), 0 or 1.
    """
    probability = torch.sigmoid(logits)
    both = (probability * masks).sum(dim=(1, 2, 3))
    total = probability.sum(dim=(1, 2, 3)) + masks.sum(dim=(1, 2, 3))
    soft_dice = (2.0 * both + 1.0) / (total + 1.0)
    return F.binary_cross_entropy_with_logits(logits, masks) + (1.0 - soft_dice).mean()


def _batches(
    samples: Sequence[Annotated], recipe: Recipe, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    order = np.random.default_rng([recipe.seed, epoch]).permutation(len(samples)).tolist()
    for start in range(0, len(order), recipe.batch):
        pairs = []
        for place in order[start : start + recipe.batch]:
            rng = np.random.default_rng([recipe.seed, epoch, place])
            pairs.append(
                augment(samples[place].image, expert_mask(samples[place]), rng, recipe.size)
            )
        images, masks = (np.stack(parts)[:, None] for parts in zip(*pairs, strict=True))
        yield torch.from_numpy(images), torch.from_numpy(masks)


def expert_mask(sample: Annotated) -> npt.NDArray[np.bool_]:
    """Return the expert's mask of a sample.

    Raises:
        InvalidInputError: it has none.
    """
    if sample.mask is None:
        raise InvalidInputError(
            f"Sample {sample.name!r} has no mask, and training needs one for each image. "
            "Put NAME_gt.png beside NAME.png, or leave the image out."
        )
    return sample.mask


def _moving(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    def moving(average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        keep = min(decay, (1.0 + float(count)) / (10.0 + float(count)))
        return average + (current - average) * (1.0 - keep)

    return moving


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
