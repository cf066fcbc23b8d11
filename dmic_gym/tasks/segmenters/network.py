"""A segmenter made of a torch network."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from dmic_gym.errors import InvalidInputError, WeightsError, unknown_name
from dmic_gym.tasks.segmenters.architectures import build
from dmic_gym.tasks.segmenters.layers import fuse_normalisation
from dmic_gym.tasks.segmenters.protocol import check_images
from dmic_gym.tasks.segmenters.weights import (
    Card,
    apply_weights,
    check_fit,
    find_weights,
    load_weights,
)
from dmic_gym.types import Images, Probabilities

Dtype = Literal["float32", "bfloat16"]
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16")


class NetworkSegmenter:
    """A `Segmenter` over a torch network.

    The network runs in eval mode under ``inference_mode``, on a CPU one image at a time: there an
    image's probabilities are the same to the last bit whatever else is in the batch, and a batch
    is no faster per image. Calls from several threads may overlap. No global setting of torch is
    touched. Pickle and deepcopy of a loaded segmenter take its arguments along and read the
    weights again, refusing a file that changed in between.

    Args:
        module: maps float (N, 1, H, W) in 0..1 to logits of the same shape. Taken over: put in
            eval mode, moved to the device and cast.
        device: a torch device, or ``"auto"``: CUDA where present, else the CPU.
        dtype: ``"float32"``, ``"bfloat16"``, or ``"auto"``: what `preferred_dtype` says.
    """

    def __init__(self, module: nn.Module, device: str = "auto", dtype: str = "auto") -> None:
        self.device = pick_device(device)
        self.dtype_name = pick_dtype(dtype, self.device)
        self.card: Card | None = None
        self._arguments: tuple[str, str, str, str] | None = None
        self._dtype = torch.bfloat16 if self.dtype_name == "bfloat16" else torch.float32
        module = fuse_normalisation(module).requires_grad_(False)
        self._module = module.to(self.device, self._dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, images: Images, /) -> Probabilities:
        """Segment uint8 images (N, H, W); return float32 probabilities (N, H, W) in 0..1.

        Raises:
            InvalidInputError: images is not uint8 (N, H, W).
        """
        images = check_images(images)
        output = np.empty(images.shape, np.float32)
        with torch.inference_mode():
            size = 1 if self.in_parallel else max(1, len(images))
            for first in range(0, len(images), size):
                part = slice(first, first + size)
                output[part] = self._infer(images[part])
        return output

    @property
    def in_parallel(self) -> bool:
        """Whether many images are done sooner by several threads, one image each, than in batches.

        So on a CPU; a GPU wants batches from one thread.
        """
        return self.device.type == "cpu"

    @property
    def folder(self) -> Path | None:
        """Where the weights lie that were loaded from a path; None of shipped ones and others."""
        source = Path(self._arguments[0]) if self._arguments else Path()
        return source.parent if source.suffix else None

    def _infer(self, images: Images) -> Probabilities:
        x = torch.tensor(images).to(self.device)
        x = x[:, None].float() / 255.0
        logits = cast(Tensor, self._module(x.to(memory_format=torch.channels_last)))
        return cast(Probabilities, torch.sigmoid(logits[:, 0].float()).cpu().numpy())

    def __reduce__(self) -> Any:
        if self._arguments is None:
            return object.__reduce__(self)
        return _reload, self._arguments

    def __repr__(self) -> str:
        name = self.card.name if self.card else type(self._module).__name__
        return f"NetworkSegmenter({name!r}, device={str(self.device)!r}, dtype={self.dtype_name!r})"


def load_segmenter(
    name_or_path: str | Path = "unet", device: str = "auto", dtype: str = "auto"
) -> NetworkSegmenter:
    """Load a network with its weights.

    Args:
        name_or_path: a shipped name (``"unet"``), or the path of a ``.safetensors`` file that
            ``dmic train-segmenter`` wrote, with its card beside it.
        device: a torch device such as ``"cpu"`` or ``"cuda:0"``, or ``"auto"``.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"auto"``.

    Raises:
        InvalidInputError: no such name, device or dtype.
        WeightsError: the file or its card is missing, damaged or does not fit.
    """
    path = find_weights(name_or_path)
    tensors, card = load_weights(path)
    with torch.device("meta"):  # no fresh weights, and no draw from torch's random state
        module = build(card.architecture, card.arguments)
    check_fit(module, tensors, str(path))  # before memory is taken for what a card says
    module.to_empty(device="cpu")
    apply_weights(module, tensors, str(path))
    segmenter = NetworkSegmenter(module, device, dtype)
    segmenter.card = card
    segmenter._arguments = (str(_source(name_or_path, path)), device, dtype, card.sha256)
    return segmenter


def shared_segmenter(name: str, device: str = "auto", dtype: str = "auto") -> NetworkSegmenter:
    """Do what `load_segmenter` does, once in a process while the file stays as it is."""
    return _shared(name, find_weights(name).stat().st_mtime_ns, device, dtype)


@lru_cache(8)
def _shared(name: str, _changed: int, device: str, dtype: str) -> NetworkSegmenter:
    return load_segmenter(name, device, dtype)


def preferred_dtype(device: torch.device) -> Dtype:
    """Choose the fastest exact-enough dtype from what the processor can do, never from a timing.

    bfloat16 needs AVX512-BF16 to be fast; there it takes about half of float32's time. A choice
    by timing could differ between two processes on one machine, and with it their masks.
    """
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bfloat16" if device.type == "cpu" and supported() else "float32"


def pick_device(device: str) -> torch.device:
    """Turn a name into a torch device; ``"auto"`` is CUDA where present, else the CPU.

    Raises:
        InvalidInputError: torch knows no such device, or it is not present.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidInputError(
            f"Device {device!r} cannot be used: {str(error).splitlines()[0]} Pass 'auto' or 'cpu'."
        ) from error


def pick_dtype(dtype: str, device: torch.device) -> Dtype:
    """Turn a name into a dtype; ``"auto"`` is what `preferred_dtype` says.

    Raises:
        InvalidInputError: there is none of that name.
    """
    if dtype == "auto":
        return preferred_dtype(device)
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, [*DTYPES, "auto"])
    return dtype


def _source(name_or_path: str | Path, path: Path) -> str | Path:
    return path if Path(name_or_path).suffix else name_or_path


def _reload(source: str, device: str, dtype: str, sha256: str) -> NetworkSegmenter:
    segmenter = load_segmenter(source, device, dtype)
    if segmenter.card is None or segmenter.card.sha256 != sha256:
        raise WeightsError(
            f"Weights {source!r} changed since this segmenter was pickled or copied. Load it again."
        )
    return segmenter
