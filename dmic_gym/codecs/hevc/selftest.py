"""Proof that QP offsets reach the encoder, since x265 can drop them without a word."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import numpy as np

from dmic_gym.codecs.hevc.picture import SampleFormat
from dmic_gym.errors import SelfTestError
from dmic_gym.types import AnyQPMap, Samples

_passed: set[tuple[str, ...]] = set()
_lock = threading.Lock()


class _Testable(Protocol):
    @property
    def ctu_size(self) -> int: ...
    @property
    def configuration(self) -> tuple[str, ...]: ...
    @property
    def x265_params(self) -> dict[str, str | int | float]: ...
    @property
    def sample_format(self) -> SampleFormat: ...


Code = Callable[[Samples, AnyQPMap], bytes]
"""Codes a frame with a QP map and returns the bitstream of this frame."""


def require_working_offsets(codec: _Testable, code: Code, kind: str) -> None:
    """Run the self-test of `code` once per process, encoder configuration and kind of frame.

    Two CTUs of noise are coded with the QPs (30, 30), (30, 40) and (30, 20): the streams must
    differ, and shrink as the second QP rises.

    Raises:
        SelfTestError: they do not.
    """
    key = *codec.configuration, kind
    with _lock:
        if key in _passed:
            return
        sizes = _stream_sizes(codec, code)
        if not sizes[20] > sizes[30] > sizes[40]:
            raise SelfTestError(_explain(codec, sizes))
        _passed.add(key)


def _stream_sizes(codec: _Testable, code: Code) -> dict[int, int]:
    shape = (codec.ctu_size, 2 * codec.ctu_size)
    dtype, depth = codec.sample_format.dtype, codec.sample_format.bit_depth
    noise = np.random.default_rng(0).integers(0, 1 << depth, shape, dtype=dtype)
    return {qp: len(code(noise, np.array([[30, qp]]))) for qp in (20, 30, 40)}


def _explain(codec: _Testable, sizes: dict[int, int]) -> str:
    overrides = ", ".join(f"{key}={value}" for key, value in codec.x265_params.items())
    cause = (
        f"Remove the overriding x265_params ({overrides}): offsets need CRF mode, aq-mode=1 "
        "and aq-strength above 0."
        if overrides
        else "This FFmpeg build's libx265 has no region-of-interest support: install the PyAV "
        "wheel from PyPI (pip install --force-reinstall --only-binary=av av)."
    )
    return (
        f"The encoder ignores QP offsets: a CTU of noise at QP 20, 30 and 40 made streams of "
        f"{sizes[20]}, {sizes[30]} and {sizes[40]} bytes, which must shrink. {cause}"
    )
