"""The leakage check: no image and no clip is scored by a network that was trained on it.

On its training images a network's Dice is too high. A card says what they are: the data sets, and
the images of them that were trained on (``metrics["trained_on"]``) or, in older cards, those that
a fold did not see (``metrics["held_out"]``). The frames of a sequence count as the sequence: a
network that was trained on ``camel/00003`` has seen the clip ``camel``. A copy of a folder
elsewhere is not recognised.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dmic_gym.errors import DmicError, InvalidInputError
from dmic_gym.io import expanded, portable
from dmic_gym.tasks.data.clips.registry import CLIPS, load_clips
from dmic_gym.tasks.data.registry import DATASETS, load_dataset
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.sequence import Selection, names_of
from dmic_gym.tasks.segmenters.find import describe_segmenter, find_segmenter
from dmic_gym.tasks.segmenters.folds import FoldSegmenters, folds_folder, joined, origin
from dmic_gym.tasks.segmenters.protocol import PerSampleSegmenter, Segmenter, SegmenterSpec
from dmic_gym.tasks.segmenters.weights import (
    SHIPPED,
    Card,
    find_weights,
    read_card,
    shipped_names,
    training_stages,
)

_SYNTHETIC = ("phantoms", "phantom-clips")
_REMARK = re.compile(r"( \(.*\))?(, .*)?$")


def seen_names(card: Card, data: str, names: Iterable[str]) -> list[str]:
    """Return those of a data set's images that a network was trained on, as far as its card says.

    Args:
        card: the network's.
        data: the data set, as a user types it.
        names: of the images.
    """
    listed = list(names)
    seen = {name for stage in training_stages(card) for name in _seen_in(stage, data, listed)}
    return [name for name in listed if name in seen]


def _seen_in(stage: Mapping[str, Any], data: str, names: Sequence[str]) -> list[str]:
    plain, here = [_REMARK.sub("", text) for text in stage["data"]], _place(data)
    own = [words for words in plain if _place(words) == here]
    if not own:
        return []
    trained_on = stage.get("trained_on") or _all_names(own)
    known = None if trained_on is None else _with_sequences(trained_on)
    kept = _with_sequences(stage.get("held_out", ()))
    return [n for n in names if (known is None or _among(n, known)) and not _among(n, kept)]


def _with_sequences(names: Iterable[str]) -> set[str]:
    """Return names and, of frames such as "camel/00003", those of their sequences."""
    return {part for name in names for part in (name, name.partition("/")[0])}


def _among(name: str, known: set[str]) -> bool:
    return name in known or name.partition("/")[0] in known


class UnseenSegmenters(PerSampleSegmenter):
    """For each image of some data sets a segmenter that was not trained on it, if there is one.

    Args:
        images: by data set, as the user typed it.
        specs: a segmenter for each data set, see `find_segmenter`; of a folder of folds each image
            gets one that has not seen it.
        strict: whether a segmenter that has seen an image is refused, or noted.

    Attributes:
        notes: what segmenters have seen of the images.
        description: the segmenters, for a card.

    Raises:
        InvalidInputError: no such segmenter; or it has seen an image, and `strict`.
    """

    def __init__(
        self, images: Mapping[str, Sequence[Sample]], specs: Sequence[str], strict: bool
    ) -> None:
        self.notes: list[str] = []
        self._segmenters: dict[str, Segmenter] = {}
        self._chosen: dict[str, str] = {}
        for (data, own), spec in zip(images.items(), specs, strict=True):
            self._add(data, names_of(own), expanded(spec))
        if strict and self.notes:
            raise InvalidInputError(
                f"{self.notes[0]} Train folds with dmic train-segmenter --data {data} --folds 5 "
                "--out FOLDS, and pass --segmenter FOLDS to have folds that have not seen them."
            )
        self.description = "; ".join(f"segmenter {_short(path)}" for path in self._segmenters)

    def for_sample(self, sample: Sample) -> Segmenter:
        """Return the segmenter of an image or of a variation of it."""
        return self._segmenters[self._chosen[origin(sample.name)]]

    def describe(self) -> dict[str, str]:
        """Return the names and one hash of all segmenters."""
        described = [describe_segmenter(each) for each in self._segmenters.values()]
        return described[0] if len(described) == 1 else joined(described, "auto")

    def _add(self, data: str, names: Sequence[str], spec: str) -> None:
        if twice := sorted(self._chosen.keys() & set(names)):
            raise InvalidInputError(
                f"Two data sets have an image named {twice[0]!r}: give each its own name."
            )
        folds = FoldSegmenters(folder) if (folder := folds_folder(spec)) else None
        chosen = {name: str(folds.path_of(name)) if folds else spec for name in names}
        self._chosen |= chosen
        for path in dict.fromkeys(chosen.values()):
            segmenter = self._segmenters.setdefault(path, find_segmenter(path))
            own = [name for name in names if chosen[name] == path]
            self.notes += leakage_notes(getattr(segmenter, "card", None), path, data, own)


def _short(path: str) -> str:
    """Return a path for records: inside the shipped weights or the data folder, without these."""
    return portable(path).removeprefix(f"{SHIPPED}{os.sep}")


def card_of(spec: SegmenterSpec) -> Card | None:
    """Return the card of a segmenter, see `find_segmenter`; None where it has none.

    Raises:
        InvalidInputError, WeightsError: there is no such segmenter.
    """
    if isinstance(spec, str) and spec in shipped_names():
        return read_card(find_weights(spec))
    card: Card | None = None if spec is None else getattr(find_segmenter(spec), "card", None)
    return card


def notes_on(spec: SegmenterSpec, data: str, names: Iterable[str]) -> list[str]:
    """Return `leakage_notes` on a segmenter; of a folder of several, on the one of each image.

    Args:
        spec: the segmenter, see `find_segmenter`.
        data: the data set of images or clips, as the user types it.
        names: of its images or clips.

    Raises:
        InvalidInputError, WeightsError: there is no such segmenter, or none for one of the names.
    """
    folder = folds_folder(expanded(spec)) if isinstance(spec, str) else None
    if folder is None:
        return leakage_notes(card_of(spec), str(spec), data, names)
    folds: Any = find_segmenter(folder)
    listed: dict[Path, list[str]] = {}
    for name in names:
        listed.setdefault(folds.path_of(name), []).append(name)
    found = (leakage_notes(read_card(path), str(spec), data, own) for path, own in listed.items())
    return [note for notes in found for note in notes]


def leakage_notes(card: Card | None, name: str, data: str, names: Iterable[str]) -> list[str]:
    """Return a sentence where a segmenter has seen images that it is to score, else nothing.

    Args:
        card: the segmenter's, if it has one.
        name: what the user calls it.
        data: the data set, as the user types it.
        names: of its images.
    """
    if card is None or not (seen := seen_names(card, data, names)):
        return []
    few = f"image{'s' * (len(seen) > 1)} {', '.join(seen)}"
    few = few if len(seen) <= 3 else f"{len(seen)} images"
    return [f"The segmenter {name} was trained on {few} of {data}: its Dice there is too high."]


def _place(data: str) -> str:
    """Return where a data set comes from: a folder's real path, or the name of a synthetic one."""
    name = os.path.expandvars(data).partition("?")[0]
    if name in _SYNTHETIC:
        return name
    if name not in DATASETS and name not in CLIPS:
        return os.path.realpath(name)
    try:
        found: Any = load_clips(data) if name in CLIPS else load_dataset(data)
    except DmicError:
        return data  # it is not here
    found = found.samples if isinstance(found, Selection) else found
    return os.path.realpath(getattr(found, "path", getattr(found, "root", name)))


def _all_names(data: Sequence[str]) -> set[str] | None:
    """Return the names of data sets that are known without a look; None of others."""
    found: set[str] = set()
    for words in data:
        name = words.partition("?")[0]
        if name in CLIPS:
            names = _names_of_clips(words)
        else:
            names = names_of(load_dataset(words)) if name in _SYNTHETIC else None
        if names is None:
            return None
        found |= set(names)
    return found


def _names_of_clips(words: str) -> list[str] | None:
    try:
        return names_of(load_clips(words))
    except DmicError:
        return None  # they are not here
