"""Real X-ray coronary angiograms with vessel masks, of a public repository."""

from __future__ import annotations

import os
from pathlib import Path

from dmic_gym.errors import DataError, unknown_name
from dmic_gym.tasks.data.folder import ImageFolder

SPLITS = ("train", "test")
SOURCE = "https://github.com/fercer/Coronary"
_LAYOUT = "train/ and test/, each with NN.png and NN_gt.png"


def angiograms(root: str | os.PathLike[str] | None = None, split: str = "train") -> ImageFolder:
    """Return X-ray coronary angiograms, 300 x 300, of the public repository fercer/Coronary.

    Args:
        root: the folder that holds train/ and test/; default $DMIC_DATA/angiograms.
        split: "train" (40 images) or "test" (21).

    Raises:
        InvalidInputError: unknown split.
        DataError: the images are not there; the message says how to get them.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if root is None and "DMIC_DATA" not in os.environ:
        raise DataError(
            f"Where are the angiograms? They are those of {SOURCE}. Set DMIC_DATA to the folder "
            f"that holds angiograms/ with {_LAYOUT}, or pass root=, as in angiograms?root=FOLDER."
        )
    folder = Path(os.environ["DMIC_DATA"], "angiograms") if root is None else Path(root)
    if not (folder / split).is_dir():
        raise DataError(
            f"No folder {str(folder / split)!r}: the angiograms of {SOURCE} lie as {_LAYOUT}. Put "
            "them there, set DMIC_DATA, or pass root=, as in angiograms?root=FOLDER."
        )
    return ImageFolder(folder / split)
