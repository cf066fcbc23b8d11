"""Finding the base QP at which an encode meets a target."""

from __future__ import annotations

from collections.abc import Callable

from dmic_gym.codecs.base import QP_RANGE


def highest_qp(meets: Callable[[int], bool]) -> int | None:
    """Return the highest QP that `meets`, None if not even the lowest does.

    Bisection: at most 6 QPs are asked, and the one returned was. It is the highest where `meets`
    is true up to some QP and false above; elsewhere it is one of the QPs that meet.
    """
    lowest, highest = QP_RANGE
    good, bad = lowest - 1, highest + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if meets(middle):
            good = middle
        else:
            bad = middle
    return good if good >= lowest else None


def lowest_qp(meets: Callable[[int], bool]) -> int | None:
    """Return the lowest QP that `meets`, None if not even the highest does; see `highest_qp`."""
    ends = sum(QP_RANGE)
    mirrored = highest_qp(lambda qp: meets(ends - qp))
    return None if mirrored is None else ends - mirrored
