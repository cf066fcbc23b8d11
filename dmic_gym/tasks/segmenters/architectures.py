"""Networks by the name that their cards use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from dmic_gym.errors import WeightsError, unknown_name
from dmic_gym.tasks.segmenters.dilated import DilatedNet
from dmic_gym.tasks.segmenters.unet import UNet

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {"unet": UNet, "dilated": DilatedNet}


def build(architecture: str, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        architecture: a key of ``ARCHITECTURES``.
        arguments: keyword arguments of the network's class.

    Raises:
        InvalidInputError: no such architecture.
        WeightsError: the network takes no such argument.
    """
    if architecture not in ARCHITECTURES:
        raise unknown_name("architecture", architecture, ARCHITECTURES)
    try:
        return ARCHITECTURES[architecture](**dict(arguments or {}))
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError) as error:
        raise WeightsError(f"Architecture {architecture!r} refuses {arguments}: {error}") from error
