from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmic_gym.codecs.hevc.nal import nal_units
from dmic_gym.deploy.endmark import Excess, check_end_mark, end_mark
from dmic_gym.errors import DecodeError

UNITS = [b"\x40\x01vps", b"\x42\x01sps", b"\x44\x01pps", b"\x28\x01one", b"\x28\x01two"]
EXCESSES = [Excess(columns, rows) for columns in (0, 1) for rows in (0, 1)]


def marked(units: list[bytes], excess: Excess = EXCESSES[0]) -> list[bytes]:
    mark = end_mark(units, excess)
    (nal,) = nal_units(mark)
    return [*units, mark[nal.header :]]


@pytest.mark.parametrize("excess", EXCESSES)
def test_round_trip(excess: Excess) -> None:
    assert check_end_mark(marked(UNITS, excess)) == excess
    assert len(end_mark(UNITS, excess)) == 10


@given(st.lists(st.binary(min_size=2, max_size=9), max_size=4))
def test_a_mark_holds_no_start_code(units: list[bytes]) -> None:
    (nal,) = nal_units(end_mark(units, Excess(1, 1)))
    assert (nal.nal_type, nal.end - nal.header) == (60, 7)
    assert check_end_mark(marked(units)) == Excess(0, 0)


def test_repeated_parameter_sets_count_once() -> None:
    *_, mark = marked(UNITS)
    assert check_end_mark([*UNITS[:4], *UNITS[:3], UNITS[4], mark]) == Excess(0, 0)


@pytest.mark.parametrize(
    "units",
    [
        UNITS[:-1],
        UNITS[::-1],
        [*UNITS, UNITS[-1]],
        [*UNITS[:3], b"\x28\x01on", b"e\x28\x01two"],
        [*UNITS[:4], b"\x28\x01twO"],
    ],
)
def test_other_units_do_not_fit(units: list[bytes]) -> None:
    with pytest.raises(DecodeError, match="checksum"):
        check_end_mark([*units, marked(UNITS)[-1]])


def test_every_flipped_bit_of_the_mark_is_noticed() -> None:
    *units, mark = marked(UNITS)
    accepted = []
    for bit in range(8 * len(mark)):
        damaged = bytearray(mark)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            accepted.append(check_end_mark([*units, bytes(damaged)]))
        except DecodeError:
            continue
    assert accepted == []
