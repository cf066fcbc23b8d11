"""Coders for threads that code at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from dmic_gym.deploy.coder import Coder, Settings


class Coders:
    """A `Coder` for each thread that codes, since an agent may keep a state while it plans.

    Networks and agent are loaded at once, so that a mistake is told before anything is coded.

    Args:
        settings: how to code.
        workers: of each, see `Coder`.
    """

    def __init__(self, settings: Settings, workers: int = 1) -> None:
        self._settings, self._workers = settings, workers
        self._all: list[Coder] = []
        self._idle = [self._made()]

    @contextmanager
    def lend(self) -> Iterator[Coder]:
        """Lend a coder that no other thread has."""
        try:
            coder = self._idle.pop()
        except IndexError:
            coder = self._made()
        try:
            yield coder
        finally:
            self._idle.append(coder)

    def _made(self) -> Coder:
        coder = Coder(self._settings, self._workers)
        coder.prepare()
        self._all.append(coder)
        return coder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for coder in self._all:
            coder.close()
