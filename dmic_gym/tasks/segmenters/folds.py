"""Networks of a cross-validation: each image is judged by one that has not seen it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.network import shared_segmenter
from dmic_gym.tasks.segmenters.protocol import PerSampleSegmenter, Segmenter
from dmic_gym.tasks.segmenters.weights import read_card


class FoldSegmenters(PerSampleSegmenter):
    """The folds that ``dmic train-segmenter --folds`` wrote into a folder.

    Args:
        folder: of the folds.
        device: of the networks.
        dtype: of the networks.
    """

    def __init__(
        self, folder: str | os.PathLike[str], device: str = "auto", dtype: str = "auto"
    ) -> None:
        self.folder = Path(folder)
        self.device, self.dtype = device, dtype
        fold_paths(self.folder)

    def for_sample(self, sample: Sample) -> Segmenter:
        """Return the network that was trained without a sample.

        Raises:
            InvalidInputError: there is none.
            WeightsError: a fold is damaged.
        """
        path = fold_without(self.folder, [origin(sample.name)])
        return shared_segmenter(str(path), self.device, self.dtype)

    def describe(self) -> dict[str, str]:
        """Return the names and one hash of all folds."""
        cards = [read_card(path) for path in fold_paths(self.folder)]
        return joined([{"name": card.name, "sha256": card.sha256} for card in cards], self.dtype)

    def __repr__(self) -> str:
        return f"FoldSegmenters({str(self.folder)!r})"


def joined(described: Sequence[Mapping[str, str]], dtype: str) -> dict[str, str]:
    """Return the description of several networks as one: all names, a hash over the hashes."""
    hashes = "".join(one["sha256"] for one in described)
    name = ", ".join(one["name"] for one in described)
    return {"name": name, "sha256": hashlib.sha256(hashes.encode()).hexdigest(), "dtype": dtype}


def origin(name: str) -> str:
    """Return the name of the image that a variation was made of."""
    return name.split("~")[0]


def fold_paths(folder: Path) -> list[Path]:
    """Return the weights of the folds in a folder; raise InvalidInputError if there are none."""
    if paths := sorted(folder.glob("*-fold*.safetensors")):
        return paths
    raise InvalidInputError(f"There are no *-fold*.safetensors in {folder}. {_HOW}")


def fold_without(folder: Path, names: Collection[str]) -> Path:
    """Return the weights of the fold that was trained without these images.

    Args:
        folder: where ``dmic train-segmenter --folds`` wrote.
        names: of the images.

    Raises:
        InvalidInputError: there is none.
        WeightsError: a card there is damaged.
    """
    paths = fold_paths(folder)
    for path in paths:
        if set(names) <= read_card(path).metrics.get("held_out", {}).keys():
            return path
    raise InvalidInputError(
        f"None of the {len(paths)} folds in {folder} was trained without {', '.join(names)}. {_HOW}"
    )


def folds_without(folder: Path, names: Collection[str]) -> dict[str, Path]:
    """Return for each image the weights of the fold that was trained without it.

    As few folds as will do: one, if it has seen none of them.

    Raises:
        InvalidInputError: there is none for an image.
        WeightsError: a card there is damaged.
    """
    try:
        return dict.fromkeys(names, fold_without(folder, names))
    except InvalidInputError:
        return {name: fold_without(folder, [name]) for name in names}


_HOW = "Pass the folder that dmic train-segmenter --folds 5 wrote for these images."
