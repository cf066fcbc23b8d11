"""Enhanced multi-frame DICOM: rescale and window are those of each frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dmic_gym.deploy.dicom import read_dicom
from dmic_gym.errors import DataError
from tests.deploy.dicoms import enhanced, frames_of, noise, save, written

FRAMES = noise((2, 20, 33), 12)


def rescale(intercept: float, slope: float = 1) -> dict[str, dict[str, Any]]:
    values = {"RescaleIntercept": intercept, "RescaleSlope": slope, "RescaleType": "HU"}
    return {"PixelValueTransformationSequence": values}


def window(centre: float, width: float) -> dict[str, dict[str, Any]]:
    return {"FrameVOILUTSequence": {"WindowCenter": centre, "WindowWidth": width}}


def grey(values: npt.NDArray[Any], centre: float, width: float) -> npt.NDArray[np.float64]:
    """PS3.3 C.11.2.1.2.1."""
    return np.rint(np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1) * 255)


def test_shared_groups_hold_for_every_frame(tmp_path: Path) -> None:
    dataset = enhanced(FRAMES, 12, {**rescale(-1024), **window(49, 102)})
    path = save(dataset, tmp_path / "a.dcm")
    values = FRAMES.astype(float) - 1024
    np.testing.assert_array_equal(
        read_dicom(path, (40, 400)).picture.samples, grey(values, 40, 400)
    )
    np.testing.assert_array_equal(read_dicom(path, "auto").picture.samples, grey(values, 49, 102))


def test_a_frames_own_group_comes_before_the_shared_one(tmp_path: Path) -> None:
    own = [{**rescale(-1000, 2), **window(500, 900)}, window(100, 300)]
    dataset = enhanced(FRAMES, 12, {**rescale(-24), **window(1, 2)}, own, RescaleIntercept=7)
    samples = read_dicom(save(dataset, tmp_path / "a.dcm"), "auto").picture.samples
    np.testing.assert_array_equal(samples[0], grey(FRAMES[0] * 2.0 - 1000, 500, 900))
    np.testing.assert_array_equal(samples[1], grey(FRAMES[1] - 24.0, 100, 300))


def test_groups_of_another_number_of_frames_are_refused(tmp_path: Path) -> None:
    dataset = enhanced(FRAMES, 12, {}, [window(1, 2)] * 3)
    with pytest.raises(DataError, match="functional groups of 3 frames, but it has 2"):
        read_dicom(save(dataset, tmp_path / "a.dcm"), "auto")


def test_what_no_longer_applies_does_not_stay(tmp_path: Path) -> None:
    position = {"PlanePositionSequence": {"ImagePositionPatient": [1, 2, 3]}}
    mapping = {"RealWorldValueMappingSequence": {"LUTExplanation": "HU"}}
    shared = {**rescale(-1024), **window(49, 102), **mapping}
    own = [{**window(40, 400), **position}] * 2
    derived = written(tmp_path, enhanced(frames_of((2, 64, 64), 8), 8, shared, own)).dataset
    (group,) = derived.SharedFunctionalGroupsSequence
    assert list(group.keys()) == []
    for group in derived.PerFrameFunctionalGroupsSequence:
        assert [element.keyword for element in group] == ["PlanePositionSequence"]
