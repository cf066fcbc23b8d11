"""A residual network of dilated convolutions (after Yu, Koltun, Funkhouser, CVPR 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmic_gym.tasks.segmenters.layers import ConvNormReLU, crop, normalise, pad_to_multiple


class _Residual(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.first = ConvNormReLU(channels, channels, dilation=dilation)
        self.second = ConvNormReLU(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x))
        return x + y


class DilatedNet(nn.Module):
    """Residual blocks at half resolution whose dilation grows and shrinks; no deep pyramid.

    Args:
        channels: features at half resolution.
        detail: features kept at full resolution for the outline.
        dilations: one residual block each.
        dropout: share of the features dropped before the outline is drawn, in training.

    The input is float (N, 1, H, W) in 0..1 of any size from 1x1, the output are logits of the
    same shape.
    """

    def __init__(
        self,
        channels: int = 32,
        detail: int = 12,
        dilations: Sequence[int] = (1, 2, 4, 8, 16, 16, 8, 4, 2, 1),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.detail = ConvNormReLU(1, detail)
        self.stem = ConvNormReLU(detail, channels, stride=2)
        self.blocks = nn.Sequential(*(_Residual(channels, d) for d in dilations))
        self.dropout = nn.Dropout2d(dropout)
        self.reduce = nn.Conv2d(channels, detail, 1)
        self.outline = ConvNormReLU(2 * detail, detail)
        self.head = nn.Conv2d(detail, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) for images (N, 1, H, W) in 0..1."""
        size = x.shape[-2:]
        detail = self.detail(pad_to_multiple(normalise(x, self.head), 2))
        y = self.reduce(self.dropout(self.blocks(self.stem(detail))))
        y = F.interpolate(y, scale_factor=2.0, mode="nearest")
        return crop(self.head(self.outline(torch.cat([detail, y], dim=1))), size)
