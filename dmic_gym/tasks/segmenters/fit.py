"""The gradient loop that fits one network to one list of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from dmic_gym.tasks.segmenters.checkpoint import Checkpoint
from dmic_gym.tasks.segmenters.loader import Annotated, Batch, Batches
from dmic_gym.tasks.segmenters.network import pick_device, preferred_dtype


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
    *,
    device: str = "auto",
    checkpoint: Checkpoint | None = None,
) -> nn.Module:
    """Fit ``module`` in place and return the moving average of its weights in eval mode.

    Threads make the batches while the network computes. On a CPU the same module, samples,
    recipe, torch version, machine and thread count give the same weights, run through or cut off
    and resumed. Where the processor has AVX512-BF16, and on CUDA, the forward pass runs in
    bfloat16 autocast. torch's global random state is left as it was.

    Args:
        module: maps float (N, 1, H, W) in 0..1 to logits.
        samples: images with masks.
        recipe: how.
        progress: called after each epoch with its number from 1 and its mean loss. It may raise
            to end the run; the epoch is in the checkpoint by then.
        device: a torch device, or ``"auto"``: CUDA where present, else the CPU.
        checkpoint: written after each epoch; where its file exists the run goes on from it.
    """
    where = pick_device(device)
    batches = Batches(samples, recipe.batch, recipe.size, recipe.seed)
    with _seeded(recipe.seed):
        module.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        run = _Run(module, recipe, recipe.epochs * len(batches))
        first = checkpoint.restore(**run.parts) + 1 if checkpoint else 1
        for number in range(first, recipe.epochs + 1):
            loss = run.epoch(batches.epoch(number), where)
            if checkpoint:
                checkpoint.save(number, **run.parts)
            if progress:
                progress(number, loss)
    result: nn.Module = run.average.module.to("cpu").eval()
    return result


class _Run:
    """A network with what its training changes: optimiser, schedule and average."""

    def __init__(self, module: nn.Module, recipe: Recipe, steps: int) -> None:
        self.module = module
        self.optimizer = torch.optim.AdamW(
            module.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, recipe.learning_rate, total_steps=max(steps, 2), pct_start=0.1
        )
        self.average = AveragedModel(module, avg_fn=_moving(recipe.average), use_buffers=True)

    @property
    def parts(self) -> dict[str, Any]:
        return {
            "module": self.module,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "average": self.average,
        }

    def epoch(self, batches: Iterable[Batch], device: torch.device) -> float:
        losses = []
        for images, masks in batches:
            images, masks = images.to(device), masks.to(device)
            losses.append(step(self.module.train(), self.optimizer, images, masks))
            self.schedule.step()
            self.average.update_parameters(self.module)
        return float(np.mean(losses))


def step(
    module: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, masks: Tensor
) -> float:
    """Take one gradient step and return the loss before it."""
    images = images.to(memory_format=torch.channels_last)
    half = images.is_cuda or preferred_dtype(images.device) == "bfloat16"
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
