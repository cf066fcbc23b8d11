import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data import ImageFolder, Phantoms, Sample
from dmic_gym.tasks.data.phantoms.raster import draw_mask, project
from dmic_gym.tasks.data.phantoms.vessels import Vessel

DIGEST = (
    "import hashlib; from dmic_gym.tasks.data import Phantoms; s = Phantoms(9, 96, seed=4)[7];"
    "print(hashlib.sha256(s.image.tobytes() + s.mask.tobytes()).hexdigest())"
)


def same(a: Sample, b: Sample) -> bool:
    assert a.mask is not None
    assert b.mask is not None
    return a.name == b.name and np.array_equal(a.image, b.image) and np.array_equal(a.mask, b.mask)


def statistics(sample: Sample) -> list[float]:
    """Mean grey level, share of vessels, strength of fine and of coarse detail."""
    assert sample.mask is not None
    grey = sample.image.astype(np.float64)
    fine, coarse = (cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (1, 20))
    return [grey.mean(), sample.mask.mean(), float((grey - fine).std()), float(np.std(coarse))]


def straight_tube(radius: float) -> Vessel:
    y = np.linspace(-20, 320, 171)
    points = np.stack([np.full_like(y, 150.5), y], axis=1)
    return Vessel(points, np.full_like(y, radius), np.ones_like(y), True)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(16, 400), width=st.integers(16, 400), seed=st.integers(0, 99))
def test_any_size_gives_an_image_and_a_thin_mask(height: int, width: int, seed: int) -> None:
    sample = Phantoms(1, (height, width), seed)[0]
    assert sample.image.shape == (height, width)
    assert sample.image.dtype == np.uint8
    assert sample.mask is not None
    assert sample.mask.dtype == np.bool_
    assert 0.005 < sample.mask.mean() < 0.2


@pytest.mark.parametrize("size", [(64, 320), (320, 64), (700, 512)])
def test_oblong_sizes_keep_the_share_of_vessels(size: tuple[int, int]) -> None:
    oblong, square = (
        np.mean([s.mask.mean() for s in Phantoms(8, shape, seed=6) if s.mask is not None])
        for shape in (size, 300)
    )
    assert oblong == pytest.approx(square, rel=0.3)


@pytest.mark.parametrize("size", [64, 300, 620])
def test_vessels_are_darker_than_their_surroundings(size: int) -> None:
    contrasts = []
    for sample in Phantoms(12, size, seed=1):
        assert sample.mask is not None
        mask = sample.mask.astype(np.uint8)
        near = cv2.dilate(mask, np.ones((3, 3)), iterations=max(size // 40, 2)) > 0
        lit = sample.image > 30
        ring = sample.image[near & ~sample.mask & lit].mean()
        contrasts.append(ring - sample.image[sample.mask & lit].mean())
    assert np.mean(contrasts) > 8
    assert min(contrasts) > 0


def test_item_depends_on_seed_index_and_size_only() -> None:
    longer, shorter = Phantoms(9, 64, seed=3), Phantoms(5, (64, 64), seed=3)
    assert same(longer[4], shorter[4])
    assert same(longer[4], longer[4])
    assert not np.array_equal(longer[4].image, longer[5].image)
    assert not np.array_equal(longer[4].image, Phantoms(9, 64, seed=2)[4].image)
    assert same(pickle.loads(pickle.dumps(longer))[8], longer[8])


def test_same_bytes_in_another_process() -> None:
    run = [sys.executable, "-c", DIGEST]
    first, second = (subprocess.run(run, capture_output=True, check=True).stdout for _ in "ab")
    assert first == second
    assert len(first.strip()) == 64


def test_two_sizes_show_the_same_patient() -> None:
    small, large = Phantoms(1, 150, seed=8)[0], Phantoms(1, 600, seed=8)[0]
    assert small.mask is not None
    assert large.mask is not None
    shrunk = cv2.resize(large.mask.astype(np.float32), (150, 150), interpolation=cv2.INTER_AREA)
    overlap = (shrunk > 0.5) & small.mask
    assert 2 * overlap.sum() / ((shrunk > 0.5).sum() + small.mask.sum()) > 0.8


def test_behaves_as_a_sequence() -> None:
    phantoms = Phantoms(4, 32)
    assert isinstance(phantoms, Sequence)
    assert [s.name for s in phantoms] == [s.name for s in phantoms[:]]
    assert len({s.name for s in phantoms}) == len(phantoms) == 4
    assert same(phantoms[-1], phantoms[3])
    assert [s.name for s in phantoms[::-2]] == [phantoms[3].name, phantoms[1].name]
    for index in (4, -5):
        with pytest.raises(IndexError, match="4 phantoms"):
            phantoms[index]
    assert list(Phantoms(0)) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"count": -1}, "count must be 0 or more"),
        ({"count": 2.5}, "count must be an integer"),
        ({"size": 15}, "Nearest: 16"),
        ({"size": (64, 99999)}, "Nearest: 16384"),
        ({"size": (64, 64, 3)}, "height, width"),
        ({"size": "big"}, "size must be an integer"),
        ({"seed": -3}, "seed must be 0 or more"),
    ],
)
def test_bad_arguments_name_the_nearest_value(arguments: dict[str, int], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        Phantoms(**arguments)


@pytest.mark.parametrize("radius", [1.0, 2.3, 4.0, 7.5])
def test_projected_thickness_is_that_of_a_cylinder(radius: float) -> None:
    row = project([straight_tube(radius)], (300, 300))[150]
    assert row.sum() == pytest.approx(np.pi * radius**2, rel=0.06)
    assert row.max() == pytest.approx(2 * radius, rel=0.2)
    assert row[: int(150 - radius - 3)].max() < 1e-3


@pytest.mark.parametrize("side", [150, 300, 600])
def test_mask_is_as_wide_as_the_vessel(side: int) -> None:
    mask = draw_mask([straight_tube(4.0)], (side, side))
    assert mask.sum(axis=1).mean() == pytest.approx(8 * side / 300, abs=1.1)


@pytest.mark.skipif("DMIC_DATA" not in os.environ, reason="needs the real angiograms")
def test_statistics_resemble_real_angiograms() -> None:
    real = ImageFolder(Path(os.environ["DMIC_DATA"]) / "angiograms" / "train")[:]
    made = Phantoms(60, seed=11)[:]

    expected = np.mean([statistics(s) for s in real], axis=0)
    assert np.mean([statistics(s) for s in made], axis=0) == pytest.approx(expected, rel=0.3)
