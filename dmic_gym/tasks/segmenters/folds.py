"""Networks of a cross-validation: each image is scored by one that has not seen it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.network import shared_segmenter
from dmic_gym.tasks.segmenters.protocol import PerSampleSegmenter, Segmenter
from dmic_gym.tasks.segmenters.weights import SHIPPED, read_card


class FoldSegmenters(PerSampleSegmenter):
    """The folds that ``dmic train-segmenter --folds`` wrote into a folder.

    Args:
        folder: of the folds.
        device: of the networks.
        dtype: of the networks.

    Raises:
        InvalidInputError: the folder holds no folds.
        WeightsError: a card there is damaged.
    """

    def __init__(
        self, folder: str | os.PathLike[str], device: str = "auto", dtype: str = "auto"
    ) -> None:
        self.folder = Path(folder)
        self.device, self.dtype = device, dtype
        paths = sorted(self.folder.glob("*-fold*.safetensors"))
        if not paths:
            raise self._error(f"There are no *-fold*.safetensors in {folder}.")
        self._cards = {path: read_card(path) for path in paths}
        self._unseen = {
            name: path
            for path, card in self._cards.items()
            for name in card.metrics.get("held_out", ())
        }

    def path_of(self, name: str) -> Path:
        """Return the weights of the fold that was trained without an image; variations count.

        Raises:
            InvalidInputError: there is none.
        """
        if (path := self._unseen.get(origin(name))) is not None:
            return path
        raise self._error(
            f"None of the {len(self._cards)} folds in {self.folder} was trained without {name}."
        )

    def for_sample(self, sample: Sample) -> Segmenter:
        """Return the network that was trained without a sample; see `path_of`."""
        return shared_segmenter(str(self.path_of(sample.name)), self.device, self.dtype)

    def describe(self) -> dict[str, str]:
        """Return the names and one hash of all folds."""
        cards = self._cards.values()
        return joined([{"name": card.name, "sha256": card.sha256} for card in cards], self.dtype)

    def __repr__(self) -> str:
        return f"FoldSegmenters({str(self.folder)!r})"

    def _error(self, cause: str) -> InvalidInputError:
        return InvalidInputError(
            f"{cause} Pass the folder that dmic train-segmenter --folds 5 wrote for these images."
        )


def folds_folder(spec: str) -> Path | None:
    """Return the folder of folds that a path or a shipped name such as "arcade-folds" means."""
    return next((p for p in (Path(spec), SHIPPED / spec) if spec and p.is_dir()), None)


def shipped_folders() -> list[str]:
    """List the names of the folders of shipped weights."""
    return sorted(path.name for path in SHIPPED.iterdir() if path.is_dir())


def joined(described: Sequence[Mapping[str, str]], dtype: str) -> dict[str, str]:
    """Return the description of several networks as one: all names, a hash over the hashes."""
    hashes = "".join(one["sha256"] for one in described)
    name = ", ".join(one["name"] for one in described)
    return {"name": name, "sha256": hashlib.sha256(hashes.encode()).hexdigest(), "dtype": dtype}


def origin(name: str) -> str:
    """Return the name of the image that a variation was made of."""
    return name.split("~")[0]
