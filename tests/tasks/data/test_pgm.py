"""PGM: white is the maxval, whichever form the samples have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmic_gym.errors import DataError
from dmic_gym.tasks.data.picture_files import read_pixels


def pgm(samples: list[int], maximum: int, *, plain: bool) -> bytes:
    header = b"P%d\n# a comment\n%d 1\n%d\n" % (2 if plain else 5, len(samples), maximum)
    if plain:
        return header + b" ".join(b"%d" % sample for sample in samples)
    return header + np.array(samples, ">u2" if maximum > 255 else "u1").tobytes()


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    ("maximum", "samples", "expected", "top"),
    [
        (15, [4, 11], [68, 187], 255),
        (1, [0, 1], [0, 255], 255),
        (157, [0, 100, 157], [0, 162, 255], 255),
        (255, [0, 9, 255], [0, 9, 255], 255),
        (300, [0, 150, 300], [0, 512, 1023], 1023),
        (1023, [0, 9, 1023], [0, 9, 1023], 1023),
        (4095, [0, 9, 4095], [0, 9, 4095], 4095),
        (65535, [0, 9, 2512], [0, 9, 2512], None),
    ],
)
def test_white_is_the_maxval(
    maximum: int, samples: list[int], expected: list[int], top: int | None, plain: bool
) -> None:
    found = read_pixels(pgm(samples, maximum, plain=plain))
    assert found.frames.tolist() == [[expected]]
    assert found.maximum == top
    assert found.frames.dtype == (np.uint8 if maximum <= 255 else np.uint16)


@given(maximum=st.integers(1, 4095), data=st.data())
def test_scaling_keeps_shares_of_white(maximum: int, data: st.DataObject) -> None:
    samples = data.draw(st.lists(st.integers(0, maximum), min_size=1, max_size=9))
    plain = read_pixels(pgm(samples, maximum, plain=True))
    raw = read_pixels(pgm(samples, maximum, plain=False))
    np.testing.assert_array_equal(plain.frames, raw.frames)
    assert raw.maximum is not None
    shares = raw.frames[0, 0] / raw.maximum
    np.testing.assert_allclose(shares, np.array(samples) / maximum, atol=0.5 / raw.maximum + 1e-9)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"P5 2 1 255\nab" * 2, "more than one picture"),
        (b"P5 2 1 255\na", "is cut: 1 bytes of samples, 2 announced"),
        (b"P2 2 1 255\n1", "1 samples"),
        (b"P2 2 1 255\n1 2 3", "2 announced"),
        (b"P2 2 1 255\n1 x", "no number"),
        (b"P5 2 1 15\n\x10\x00", "a sample is 16, more than its 15"),
        (b"P5 2 1 70000\nabcd", "maxval is 70000"),
        (b"P5 2 1 0\nab", "maxval is 0"),
        (b"P5 2\n", "header is damaged"),
    ],
)
def test_damage_is_named(data: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_pixels(data)


def test_white_space_behind_the_samples_is_no_picture() -> None:
    assert read_pixels(b"P5 2 1 255\nab\n").frames.tolist() == [[[97, 98]]]
    assert read_pixels(b"P2 2 1 255\n1\n2\n# the end\n").frames.tolist() == [[[1, 2]]]
