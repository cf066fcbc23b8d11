"""(h) Seconds an epoch of ``dmic train-segmenter``, and what each of its means brings alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from dmic_gym.tasks.segmenters.architectures import build
from dmic_gym.tasks.segmenters.fit import segmentation_loss, step
from dmic_gym.tasks.segmenters.loader import Batches
from dmic_gym.tasks.segmenters.network import preferred_dtype
from measure.common import Row, Scale, interleave, median, ratio, samples

NETWORKS = ("unet", "dilated")
CROP, BATCH = 256, 4


def segmenter_training(scale: Scale) -> list[Row]:
    """Compare epochs over the same batches, in turns, on all cores.

    "plain" is the loop of a tutorial: one thread makes a batch, then the network takes a step, in
    float32 and in torch's default memory order.
    """
    data = samples(2 * scale.images, 512)
    means: dict[str, tuple[Callable[..., float], int | None]] = {
        "plain": (_plain_step, 0),
        "loader in threads": (_plain_step, None),
        "channels-last and mixed precision": (step, 0),
        "as shipped": (step, None),
    }
    rows, mixed = [], preferred_dtype(torch.device("cpu"))
    for name in NETWORKS:
        fresh = build(name)

        def epoch(kind: str, network: nn.Module = fresh) -> None:
            take, threads = means[kind]
            module = copy.deepcopy(network)
            if take is step:
                module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            optimizer = torch.optim.AdamW(module.parameters(), 1e-3)
            for images, masks in Batches(data, BATCH, CROP, 0, threads).epoch(1):
                take(module.train(), optimizer, images, masks)

        times = interleave({kind: partial(epoch, kind) for kind in means}, min(scale.rounds, 3))
        rows += [
            {
                "network": name,
                "epoch": kind,
                "dtype": "float32" if means[kind][0] is _plain_step else mixed,
                "threads": torch.get_num_threads(),
                "s an epoch": median(times[kind]),
                "over plain": ratio(times[kind], times["plain"]),
            }
            for kind in means
        ]
    return rows


def _plain_step(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    masks: torch.Tensor,
) -> float:
    loss = segmentation_loss(module(images), masks)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())
