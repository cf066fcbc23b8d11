"""Which segmenter judges which image: never, if it can be helped, one that was trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dmic_gym.cli.common import portable, trained_segmenter
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data import Sample
from dmic_gym.tasks.leakage import folds_without, seen_names
from dmic_gym.tasks.segmenters.protocol import Segmenter


class Judges:
    """The segmenter of each image of some data sets.

    Args:
        images: by data set, as the user typed it.
        specs: a segmenter for each data set: weights, module:object, or a folder of folds, of
            which each image gets one that has not seen it.
        strict: whether a segmenter that has seen an image is refused, or noted.

    Attributes:
        notes: what segmenters have seen of the images.
        words: for the card.

    Raises:
        InvalidInputError: no such segmenter; or it has seen an image, and `strict`.
    """

    def __init__(
        self, images: Mapping[str, Sequence[Sample]], specs: Sequence[str], strict: bool
    ) -> None:
        self.notes: list[str] = []
        self._networks: dict[str, Segmenter] = {}
        self._judged: dict[str, str] = {}
        for (data, own), spec in zip(images.items(), specs, strict=True):
            names = [image.name for image in own]
            if twice := sorted(self._judged.keys() & set(names)):
                raise InvalidInputError(
                    f"Two data sets have an image named {twice[0]!r}: give each its own name."
                )
            folds = folds_without(Path(spec), names) if Path(spec).is_dir() else {}
            self._judged |= {name: str(folds.get(name, spec)) for name in names}
            for path in dict.fromkeys(self._judged[name] for name in names):
                self._networks.setdefault(path, trained_segmenter(path))
                self._look(path, data, [name for name in names if self._judged[name] == path])
        if strict and self.notes:
            raise InvalidInputError(
                f"{self.notes[0]} Train folds with dmic train-segmenter --data {data} --folds 5 "
                "--out FOLDS, and pass --segmenter FOLDS to have folds that have not seen them."
            )
        self.words = "; ".join(f"segmenter {portable(path)}" for path in self._networks)

    def __call__(self, sample: Sample) -> Segmenter:
        """Return the segmenter of an image or of a variation of it."""
        return self._networks[self._judged[sample.name.split("~")[0]]]

    @property
    def first(self) -> Segmenter:
        """The segmenter of the first image."""
        return next(iter(self._networks.values()))

    @property
    def several(self) -> bool:
        """Whether there is more than one."""
        return len(self._networks) > 1

    def _look(self, path: str, data: str, names: Sequence[str]) -> None:
        card = getattr(self._networks[path], "card", None)
        if card is not None and (seen := seen_names(card, data, names)):
            self.notes.append(
                f"The segmenter {path} was trained on {_few(seen)} of {data}: its Dice there "
                "flatters."
            )


def _few(names: Sequence[str]) -> str:
    if len(names) > 3:
        return f"{len(names)} images"
    return f"image{'s' * (len(names) > 1)} {', '.join(names)}"
