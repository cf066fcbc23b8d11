"""Frames a second."""

from __future__ import annotations

from fractions import Fraction

from dmic_gym.errors import InvalidInputError

DEFAULT_RATE = Fraction(25)
MAX_RATE = 1000
"""Frames a second where nobody says, and at most."""


def checked_rate(fps: float) -> Fraction:
    """Return frames a second; raise InvalidInputError unless they are above 0 and at most 1000."""
    if not 0 < fps <= MAX_RATE:
        raise InvalidInputError(
            f"fps={fps:g} is outside 0..{MAX_RATE} pictures a second. Usual: 15, 25, 30."
        )
    return Fraction(fps).limit_denominator(1001)
