"""Building blocks that the networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

_MAX_DILATION = 64
"""Padding grows with it, and a card can ask for any."""


class ConvNormReLU(nn.Module):
    """3x3 convolution, batch normalisation, ReLU; size kept at stride 1."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1, stride: int = 1) -> None:
        super().__init__()
        if not 1 <= dilation <= _MAX_DILATION:
            raise ValueError(f"dilation {dilation} is outside 1..{_MAX_DILATION}")
        self.conv = nn.Conv2d(
            inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False
        )
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        return F.relu(self.norm(self.conv(x)), inplace=True)

    def fuse(self) -> None:
        """Fold the normalisation into the convolution, for inference only."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


def fuse_normalisation(module: nn.Module) -> nn.Module:
    """Put a network in eval mode and fold each normalisation into its convolution, in place."""
    module.eval()
    for part in module.modules():
        if isinstance(part, ConvNormReLU):
            part.fuse()
    return module


def normalise(x: Tensor, like: nn.Conv2d) -> Tensor:
    """Scale 0..1 to about -2..2 in the type of a layer; exact for 8-bit grey levels."""
    return (x * 255.0 - 128.0).div(64.0).to(like.weight.dtype)


def pad_to_multiple(x: Tensor, stride: int) -> Tensor:
    """Repeat the right and bottom edge of (N, C, H, W) until stride divides H and W."""
    height, width = x.shape[-2:]
    pad = (0, -width % stride, 0, -height % stride)
    return F.pad(x, pad, mode="replicate") if any(pad) else x


def crop(x: Tensor, size: torch.Size) -> Tensor:
    """Cut (N, C, H, W) back to the top left ``size`` (H, W)."""
    return x[..., : size[0], : size[1]]
