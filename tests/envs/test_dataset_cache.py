from __future__ import annotations

import pytest

from dmic_gym.envs.dataset_cache import DatasetCache
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.sequence import LazySamples
from tests.support import texture


class Made(LazySamples):
    """Counts how often each of three samples is made."""

    def __init__(self) -> None:
        self.made = [0, 0, 0]

    def __len__(self) -> int:
        return 3

    def _read(self, index: int) -> Sample:
        self.made[index] += 1
        return Sample(texture((10, 10), index), name=str(index))

    def _content(self) -> str:
        return "samples"


class Augmented(list[Sample]):
    """Gives another sample at each access."""

    asked = 0

    def __getitem__(self, index: object) -> Sample:  # type: ignore[override]
        self.asked += 1
        return Sample(texture((10, 10), self.asked), name=str(self.asked))


def test_a_lazy_sample_is_made_once() -> None:
    dataset = Made()
    shelf = DatasetCache(dataset)
    first = shelf[0]
    assert shelf[0] is first
    assert shelf[-3] is first
    assert [sample.name for sample in shelf] == ["0", "1", "2"]
    assert [sample.name for sample in shelf[1:]] == ["1", "2"]
    assert dataset.made == [1, 1, 1]
    with pytest.raises(IndexError, match="out of range"):
        shelf[3]


def test_the_shelf_is_bounded() -> None:
    dataset = Made()
    shelf = DatasetCache(dataset, max_bytes=200)
    for _ in range(2):
        for index in range(3):
            assert shelf[index].name == str(index)
    assert dataset.made == [2, 2, 2]


def test_a_users_sequence_is_asked_each_time() -> None:
    dataset = Augmented([Sample(texture((10, 10)))])
    shelf = DatasetCache(dataset)
    assert shelf[0].name != shelf[0].name
