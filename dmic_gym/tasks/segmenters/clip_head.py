"""The part of a clip's segmenter that is trained: from a backbone's features to a mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmic_gym.errors import WeightsError
from dmic_gym.tasks.segmenters.backbone import CHANNELS, STRIDES, Backbone
from dmic_gym.tasks.segmenters.layers import crop, pad_to_multiple
from dmic_gym.tasks.segmenters.weights import Card, apply_weights, load_weights

ARCHITECTURE = "clip-head"
"""What cards of heads say."""


class ClipHead(nn.Module):
    """Top-down fusion of a backbone's features (Lin et al., CVPR 2017); logits at stride 4.

    Args:
        width: channels of the fused features.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in CHANNELS)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in CHANNELS)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map the features of `Backbone` to logits (N, 1, H, W) of the frame's size."""
        x: Tensor | None = None
        for feature, lateral, smooth in zip(features, self.lateral, self.smooth, strict=True):
            y = lateral(feature)
            if x is not None:
                y = y + F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = F.relu(smooth(F.relu(y)))
        return F.interpolate(self.out(x), scale_factor=float(STRIDES[-1]), mode="bilinear")

    def standardise(self, features: Sequence[Tensor]) -> None:
        """Take features at mean 0 and deviation 1 from now on, as those given here have them."""
        with torch.no_grad():
            for layer, feature in zip(self.lateral, features, strict=True):
                assert isinstance(layer, nn.Conv2d)
                assert layer.bias is not None
                deviation, mean = torch.std_mean(feature, dim=(0, 2, 3))
                layer.weight /= (deviation + 1e-3).view(1, -1, 1, 1)
                layer.bias -= (layer.weight.sum(dim=(2, 3)) * mean).sum(dim=1)


class ClipNet(nn.Module):
    """A backbone and a head as one network: frames (N, 1, H, W) in 0..1 to logits of that shape."""

    def __init__(self, backbone: Backbone, head: ClipHead) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) for frames of any size."""
        logits: Tensor = self.head(self.backbone(padded(x)))
        return crop(logits, x.shape[-2:])


def padded(x: Tensor) -> Tensor:
    """Repeat the right and bottom edge until H and W are what the backbone takes."""
    return pad_to_multiple(x, STRIDES[0]).contiguous(memory_format=torch.channels_last)


def load_head(path: Path) -> tuple[ClipHead, Card]:
    """Load a head and its card.

    Raises:
        WeightsError: the file or its card is missing, damaged, or not of a head.
    """
    tensors, card = load_weights(path)
    if card.architecture != ARCHITECTURE:
        raise WeightsError(f"{path} holds a {card.architecture!r}, expected {ARCHITECTURE!r}.")
    with torch.random.fork_rng(devices=[]):
        head = ClipHead(**card.arguments)
    apply_weights(head, tensors, str(path))
    return head, card
