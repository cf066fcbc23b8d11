"""A small U-Net for vessels (Ronneberger, Fischer, Brox, MICCAI 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmic_gym.tasks.segmenters.layers import ConvNormReLU, crop, normalise, pad_to_multiple

_MAX_SHRINK = 8


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(ConvNormReLU(inputs, outputs), ConvNormReLU(outputs, outputs))


class _Context(nn.Module):
    """Residual dilated convolutions: the whole image seen from the coarsest level."""

    def __init__(self, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(ConvNormReLU(channels, channels, dilation=d) for d in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = x + step(x)
        return x


class UNet(nn.Module):
    """Encoder and decoder with skips, and dilated context at the coarsest level.

    Args:
        channels: features per level, finest first; level k works at 1 / 2**k of the size.
        dilations: dilations of the residual 3x3 convolutions at the coarsest level.
        dropout: share of the coarsest features dropped in training.
        shrink: the picture is averaged down by this factor before the finest level and the
            logits are interpolated up again: with 2, 512x512 costs what 256x256 does without.

    The input is float (N, 1, H, W) in 0..1 of any size from 1x1, the output are logits of the
    same shape.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 128, 128),
        dilations: Sequence[int] = (1, 2, 4),
        dropout: float = 0.1,
        shrink: int = 1,
    ) -> None:
        super().__init__()
        if not 1 <= shrink <= _MAX_SHRINK:
            raise ValueError(f"shrink {shrink} is outside 1..{_MAX_SHRINK}")
        pairs = list(pairwise(channels))
        self.shrink = shrink
        self.stride = shrink * 2 ** len(pairs)
        self.down = nn.ModuleList(_double(i, o) for i, o in [(1, channels[0]), *pairs])
        self.context = _Context(channels[-1], dilations)
        self.dropout = nn.Dropout2d(dropout)
        self.reduce = nn.ModuleList(nn.Conv2d(low, high, 1) for high, low in reversed(pairs))
        self.up = nn.ModuleList(_double(2 * high, high) for high, _ in reversed(pairs))
        self.head = nn.Conv2d(channels[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) for images (N, 1, H, W) in 0..1."""
        size = x.shape[-2:]
        x = pad_to_multiple(normalise(x, self.head), self.stride)
        skips = self._encode(self._averaged(x))
        y = self.dropout(self.context(skips.pop()))
        for reduce, up in zip(self.reduce, self.up, strict=True):
            y = F.interpolate(reduce(y), scale_factor=2.0, mode="nearest")
            y = up(torch.cat([skips.pop(), y], dim=1))
        return crop(self._enlarged(self.head(y)), size)

    def _averaged(self, x: Tensor) -> Tensor:
        if self.shrink == 1:
            return x
        planes = F.avg_pool2d(x[:, 0], self.shrink)[:, None]  # four times as fast without channels
        return planes.contiguous(memory_format=torch.channels_last)

    def _enlarged(self, logits: Tensor) -> Tensor:
        if self.shrink == 1:
            return logits
        return F.interpolate(logits, scale_factor=float(self.shrink), mode="bilinear")

    def _encode(self, x: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            features.append(x)
        return features
