"""PGM files, in which other readers forget what white is."""

from __future__ import annotations

import re

import numpy as np

from dmic_gym.errors import DataError
from dmic_gym.tasks.data.pixels import Pixels, SizeCheck, scaled

_SPACE = rb"(?:\s|#[^\n]*\n)+"
_HEADER = re.compile(rb"P[25]" + (_SPACE + rb"(\d{1,5})") * 3 + rb"\s")
_LONGEST = 4096
"""Bytes in which a header must end."""


def is_pgm(data: bytes) -> bool:
    """Whether these are the first bytes of a PGM file."""
    return data[:2] in (b"P2", b"P5")


def read_pgm(data: bytes, check_size: SizeCheck = lambda *_: None) -> Pixels:
    """Read a PGM, plain or raw.

    White is its maxval: up to 4095, samples are scaled to the least of 8, 10 and 12 bits that
    holds it; above that they are samples of 16 bits as they are.

    Raises:
        DataError: it is damaged, cut, or holds more than one picture.
    """
    header = _HEADER.match(data[:_LONGEST])
    if header is None:
        raise DataError("its PGM header is damaged.")
    width, height, maximum = (int(number) for number in header.groups())
    if not 1 <= maximum <= 65535:
        raise DataError(f"its PGM maxval is {maximum}, outside 1..65535.")
    check_size(height, width, 1)
    body, count = data[header.end() :], height * width
    samples = _plain(body, count) if data.startswith(b"P2") else _raw(body, count, maximum)
    if samples.max(initial=0) > maximum:
        raise DataError(f"it is damaged: a sample is {samples.max()}, more than its {maximum}.")
    return scaled(samples.reshape(1, height, width), maximum)


def _raw(body: bytes, count: int, maximum: int) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    dtype = np.dtype("u1" if maximum < 256 else ">u2")
    size = count * dtype.itemsize
    if len(body) < size:
        raise DataError(f"it is cut: {len(body)} bytes of samples, {size} announced.")
    if body[size:].strip():
        raise DataError(
            "it holds more than one picture, or is damaged: write several pictures to a TIFF."
        )
    return np.frombuffer(body[:size], dtype).astype(np.uint16)


def _plain(body: bytes, count: int) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    words = re.sub(rb"#[^\n]*", b"", body).split(maxsplit=count)
    if len(words) != count:
        raise DataError(f"it holds {min(len(words), count)} samples or more, {count} announced.")
    if any(not word.isdigit() or len(word) > 5 for word in words):
        raise DataError("it is damaged: a sample is no number.")
    return np.array(words, np.uint32).clip(max=65535).astype(np.uint16)
