from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dmic_gym.deploy.targets import highest_qp, lowest_qp


@given(st.integers(-1, 51))
def test_the_highest_qp_of_a_threshold(last: int) -> None:
    asked: list[int] = []

    def meets(qp: int) -> bool:
        asked.append(qp)
        return qp <= last

    assert highest_qp(meets) == (last if last >= 0 else None)
    assert len(asked) <= 6


@given(st.integers(0, 52))
def test_the_lowest_qp_of_a_threshold(first: int) -> None:
    assert lowest_qp(lambda qp: qp >= first) == (first if first <= 51 else None)


@given(st.sets(st.integers(0, 51)))
def test_what_is_returned_was_asked_and_meets_even_without_order(good: set[int]) -> None:
    asked: list[int] = []

    def meets(qp: int) -> bool:
        asked.append(qp)
        return qp in good

    for found in (highest_qp(meets), lowest_qp(meets)):
        assert found is None or (found in good and found in asked)
