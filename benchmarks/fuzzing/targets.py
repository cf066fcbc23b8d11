"""What is fuzzed: sound inputs, a reader, and which results would be wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dmic_gym.errors import DmicError

Result = npt.NDArray[Any] | None
Verdict = Literal["refused", "right", "told", "other", "wrong", "foreign"]


class UnprovenError(Exception):
    """The picture came with a word that nothing proves it."""


@dataclass(eq=False)
class Target:
    """A reader under test.

    Attributes:
        seeds: sound inputs.
        read: what is under test; returns an array that can be compared, or None.
        protected: whether the format has a checksum, so that another picture is a wrong one.
        words: pieces that mutations use.
        divisible: whether the beginning of an input may be sound, as a text's.
        share: of the corruptions asked for that are tried, where one takes long.
    """

    seeds: Sequence[bytes]
    read: Callable[[bytes], Result]
    protected: bool = False
    words: Sequence[bytes] = ()
    divisible: bool = False
    share: float = 1.0
    expected: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.words = [*self.words, *self.seeds]
        self.expected = [self.read(seed) for seed in self.seeds]

    @property
    def cuts(self) -> int:
        """How many beginnings the first seed has."""
        return len(self.seeds[0])

    def judge(self, data: bytes, *, cut: bool = False) -> tuple[Verdict, str]:
        """Read an input and say what came of it, with the words of a foreign error.

        Args:
            data: the input.
            cut: whether it is the beginning of a sound one, so that another picture is wrong.
        """
        try:
            found = self.read(data)
        except DmicError:
            return "refused", ""
        except UnprovenError:
            return "told", ""
        except Exception as error:
            return "foreign", f"{type(error).__name__}: {error}"
        if any(_same(found, expected) for expected in self.expected):
            return "right", ""
        return ("wrong" if self.protected or (cut and not self.divisible) else "other"), ""


def _same(found: Result, expected: Result) -> bool:
    if found is None or expected is None:
        return found is expected
    return found.dtype == expected.dtype and np.array_equal(found, expected)
