"""Data sets of a user's own: torch data sets, sequences of pairs, and what is wrong with some."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
import torch
from torch.utils.data import Dataset, Subset, TensorDataset

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data import Sample, load_dataset
from tests.support import phantoms, small_env

IMAGE = np.arange(96 * 96, dtype=np.uint8).reshape(96, 96)
MASK = IMAGE > 128


def same(found: npt.NDArray[np.bool_] | None, expected: npt.NDArray[np.bool_]) -> bool:
    return found is not None and np.array_equal(found, expected)


class Angiograms(Dataset[Any]):
    """As a user would write one: (image, mask) tensors with a channel axis."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = torch.from_numpy(IMAGE[None] + np.uint8(index))
        return image, torch.from_numpy(MASK[None].astype(np.float32))


def test_a_torch_dataset_and_a_subset_of_it() -> None:
    data = load_dataset(Angiograms())
    assert [sample.name for sample in data] == ["sample-0000", "sample-0001", "sample-0002"]
    assert np.array_equal(data[2].image, IMAGE + np.uint8(2))
    assert same(data[-1].mask, MASK)
    part = load_dataset(Subset(Angiograms(), [2, 0]))
    assert [int(sample.image[0, 0]) for sample in part] == [2, 0]
    tensors = TensorDataset(torch.from_numpy(IMAGE[None]), torch.from_numpy(MASK[None]))
    assert same(load_dataset(tensors)[0].mask, MASK)


def test_pairs_of_any_kind() -> None:
    picture = PIL.Image.fromarray(IMAGE)
    drawn = PIL.Image.fromarray(MASK.astype(np.uint8) * np.uint8(255))
    data = load_dataset([(IMAGE, MASK), (picture, drawn, "named"), [IMAGE, None]])
    assert [sample.name for sample in data] == ["sample-0000", "named", "sample-0002"]
    assert all(np.array_equal(sample.image, IMAGE) for sample in data)
    assert same(data[1].mask, MASK)
    assert data[2].mask is None


def test_an_environment_plays_on_a_torch_dataset() -> None:
    env = small_env(dataset=Angiograms())
    _, info = env.reset(seed=0, options={"sample": "sample-0001"})
    assert info == env.reset(seed=0, options={"sample": 1})[1]
    assert env.reference is not None
    assert np.array_equal(env.reference.sample.image, IMAGE + np.uint8(1))
    env.close()


def test_augmentation_is_seen_anew_each_time() -> None:
    class Growing(Angiograms):
        calls = 0

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            self.calls += 1
            return torch.full((1, 96, 96), self.calls, dtype=torch.uint8), torch.zeros(1, 96, 96)

    env = small_env(dataset=Growing())
    seen = set()
    for _ in range(3):
        env.reset(options={"sample": 0})
        assert env.reference is not None
        seen.add(int(env.reference.sample.image[0, 0]))
    assert len(seen) == 3
    env.close()


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (3, r"Item 0 .* int, neither Sample nor \(image, mask\)"),
        ((IMAGE, MASK, "a", "b"), "neither Sample nor"),
        ((IMAGE / 255, MASK), r"float64.*\(image \* 255\)\.round"),
        ((IMAGE.astype(np.uint16), MASK), "uint16.*a grey-level window"),
        ((np.zeros((8, 8, 3), np.uint8), MASK), r"uint8 \(8, 8, 3\).*cvtColor"),
        ((np.zeros((0, 8), np.uint8), None), r"got uint8 \(0, 8\)"),
        (("a.png", MASK), "Sample 'sample-0000': image must be an array, got str"),
        ((IMAGE, MASK * 0.5), r"0\.0\.\.0\.5; .*Write mask > threshold"),
        ((IMAGE, np.where(MASK, np.nan, 0.0)), "a mask holds 0 and 1"),
        ((IMAGE, MASK[:50]), r"mask is \(50, 96\), but the image is \(96, 96\)"),
        ((torch.zeros(96, 96, requires_grad=True), MASK), r"Write \.detach\(\)\.cpu\(\)"),
    ],
)
def test_what_is_wrong_says_what_to_write(item: object, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        load_dataset([item])


def test_a_dataset_without_length_is_refused() -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter([(IMAGE, MASK)])

    data: Any
    for data in (Stream(), {"a": 1}, IMAGE, iter([])):
        with pytest.raises(InvalidInputError, match="A data set is a name"):
            load_dataset(data)


def test_lists_of_samples_are_returned_as_they_are() -> None:
    samples = phantoms(2, 96)
    assert load_dataset(samples) is samples
    mixed = load_dataset([samples[0], (IMAGE, MASK)])
    assert mixed[0] is samples[0]
    assert isinstance(mixed[1], Sample)
