"""Which images a network has been trained on: its Dice on them flatters.

Told by cards: a card names the folders of the training data and the images of them that were
trained on (``metrics["trained_on"]``); older cards leave out the latter, but name the images that
a fold did not see (``metrics["held_out"]``). Of a folder's copy elsewhere a card knows nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.segmenters.weights import Card, read_card

_REMARK = re.compile(r"( \(.*\))?(, .*)?$")


def seen_names(card: Card, data: str, names: Iterable[str]) -> list[str]:
    """Return those of a data set's images that a network was trained on, as far as its card says.

    Args:
        card: the network's.
        data: the folder, as a user types it.
        names: of the images.
    """
    if not any(_same_folder(data, _REMARK.sub("", words)) for words in card.data):
        return []
    trained_on = card.metrics.get("trained_on")
    if trained_on is not None:
        return [name for name in names if name in trained_on]
    held_out = card.metrics.get("held_out", ())
    return [name for name in names if name not in held_out]


def fold_without(folder: Path, names: Collection[str]) -> Path:
    """Return the weights of the fold that was trained without these images.

    Args:
        folder: where ``dmic train-segmenter --folds`` wrote.
        names: of the images.

    Raises:
        InvalidInputError: there is none.
        WeightsError: a card there is damaged.
    """
    paths = sorted(folder.glob("*-fold*.safetensors"))
    for path in paths:
        if set(names) <= read_card(path).metrics.get("held_out", {}).keys():
            return path
    what = f"None of the {len(paths)} folds in" if paths else "There are no *-fold*.safetensors in"
    raise InvalidInputError(
        f"{what} {folder} that were trained without {', '.join(names)}. Pass images of one fold, "
        "or the folder that dmic train-segmenter --folds 5 wrote for this data."
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


def _same_folder(one: str, other: str) -> bool:
    return _resolved(one) == _resolved(other)


def _resolved(path: str) -> str:
    return os.path.realpath(os.path.expandvars(path))
