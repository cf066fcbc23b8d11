"""Damaging files: the ways in which a campaign changes bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Rng = np.random.Generator
Mutation = Callable[[bytearray, Rng, Sequence[bytes]], None]

_EXTREMES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
_LONGEST_RUN = 64


def mutate(data: bytes, rng: Rng, words: Sequence[bytes]) -> bytes:
    """Return `data` after one to four random changes.

    Args:
        data: a sound input.
        rng: decides everything.
        words: pieces that mean something in inputs of this kind, other inputs among them.
    """
    changed = bytearray(data)
    for _ in range(1 + int(rng.integers(4) * rng.integers(2))):
        _MUTATIONS[int(rng.integers(len(_MUTATIONS)))](changed, rng, words)
    return bytes(changed)


def _place(data: bytearray, rng: Rng) -> int:
    """A position, half the time among the headers."""
    top = len(data) if rng.integers(2) else min(len(data), 512)
    return int(rng.integers(top + 1))


def _run(data: bytearray, rng: Rng) -> slice:
    start = _place(data, rng)
    return slice(start, start + int(rng.integers(1, _LONGEST_RUN)))


def _flip_bit(data: bytearray, rng: Rng, words: Sequence[bytes]) -> None:
    if data:
        data[_place(data, rng) % len(data)] ^= 1 << int(rng.integers(8))


def _set_byte(data: bytearray, rng: Rng, words: Sequence[bytes]) -> None:
    if data:
        data[_place(data, rng) % len(data)] = int(rng.integers(256))


def _set_number(data: bytearray, rng: Rng, words: Sequence[bytes]) -> None:
    """Overwrite 1, 2 or 4 bytes, as counts and lengths have them, with an extreme."""
    start, size = _place(data, rng), 1 << int(rng.integers(3))
    data[start : start + size] = bytes([rng.choice(_EXTREMES)] * size)


def _delete(data: bytearray, rng: Rng, words: Sequence[bytes]) -> None:
    del data[_run(data, rng)]


def _repeat(data: bytearray, rng: Rng, words: Sequence[bytes]) -> None:
    run = _run(data, rng)
    data[run.start : run.start] = bytes(data[run]) * int(rng.integers(1, 4))


def _zero(data: bytearray, rng: Rng, words: Sequence[bytes]) -> None:
    run = _run(data, rng)
    data[run] = bytes(len(data[run]))


def _insert(data: bytearray, rng: Rng, words: Sequence[bytes]) -> None:
    start = _place(data, rng)
    data[start:start] = rng.bytes(int(rng.integers(1, 9)))


def _cut(data: bytearray, rng: Rng, words: Sequence[bytes]) -> None:
    del data[int(rng.integers(len(data) + 1)) :]


def _use_word(data: bytearray, rng: Rng, words: Sequence[bytes]) -> None:
    """Insert a word, or write it over what is there."""
    if words:
        word, start = words[int(rng.integers(len(words)))], _place(data, rng)
        data[start : start + len(word) * int(rng.integers(2))] = word


def _splice(data: bytearray, rng: Rng, words: Sequence[bytes]) -> None:
    """Go on with the end of another input."""
    if words:
        other = max(words, key=len) if rng.integers(2) else words[int(rng.integers(len(words)))]
        data[_place(data, rng) :] = other[int(rng.integers(len(other) + 1)) :]


_MUTATIONS: tuple[Mutation, ...] = (
    _flip_bit,
    _flip_bit,
    _set_byte,
    _set_number,
    _delete,
    _repeat,
    _zero,
    _insert,
    _cut,
    _use_word,
    _splice,
)
