"""DAVIS 2016 as clips."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from dmic_gym.errors import DataError, InvalidInputError, unknown_name
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.clips.assembly import assembled, checked_cut
from dmic_gym.tasks.data.davis import Davis
from dmic_gym.tasks.data.sequence import LazyClips

SOURCE = "https://davischallenge.org (DAVIS 2016, 480p)"
SPLITS = ("train", "val")
MULTIPLE = 16

_VAL = (
    "blackswan bmx-trees breakdance camel car-roundabout car-shadow cows dance-twirl dog "
    "drift-chicane drift-straight goat horsejump-high kite-surf libby motocross-jump "
    "paragliding-launch parkour scooter-black soapbox"
)
VAL = tuple(_VAL.split(" "))
"""The sequences of the official validation split; all others are of the training split."""


class DavisClips(LazyClips):
    """The sequences of DAVIS 2016, a clip each, with the masks of all frames.

    Clips are named as the sequences are and read when they are asked for; nothing is cached.
    Source: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
    Segmentation", CVPR 2016. Frames become grey, and any label is object, as in `Davis`.

    Args:
        root: the folder that holds JPEGImages/ and Annotations/; default $DMIC_DATA/davis2016.
        split: "val" (20 sequences where all are there) or "train" (30), by the official list;
            None takes both. Sequences that are not there are left out.
        size: height in pixels, 16 or more, to which higher frames are scaled down by area
            averaging. The width follows in proportion, and both are cropped in the middle to
            multiples of 16: at 240, frames of 854x480 are averaged to 427x240, and the middle 416
            columns kept. None leaves frames as they are.
        frames: how many to read from the start of a sequence; shorter ones have fewer. None: all.
        sequences: which of the split, in this order: names, or one text with blanks between
            (``sequences=camel+dog`` in what `load_clips` takes). None: all, sorted.

    Raises:
        InvalidInputError: unknown split or sequence, or a number is out of its range.
        DataError: the data are not there; the message says where to get them. On access: a frame
            or mask is missing or unreadable.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        split: str | None = None,
        size: int | None = None,
        frames: int | None = None,
        sequences: str | Sequence[str] | None = None,
    ) -> None:
        if split is not None and split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        self.root = _root(root)
        self.split = split
        self._cut = checked_cut(0, frames, size, MULTIPLE)
        chosen = _chosen(sequences, Davis(self.root).sequences, split, self.root)
        self._images = Davis(self.root, chosen)
        self._places: dict[str, list[int]] = defaultdict(list)
        for place, name in enumerate(self._images.names):
            self._places[name.partition("/")[0]].append(place)

    def __repr__(self) -> str:
        cut = f"size={self._cut.size}, frames={self._cut.frames}"
        return f"DavisClips({str(self.root)!r}, split={self.split!r}, {cut})"

    def __len__(self) -> int:
        return len(self._images.sequences)

    def _content(self) -> str:
        return f"sequences of {self.root}"

    def _name(self, index: int) -> str:
        return self._images.sequences[index]

    def _read(self, index: int) -> Clip:
        name = self._name(index)
        samples = (self._images[place] for place in self._places[name])
        return assembled(samples, name, self._cut, self.root)


def _root(root: str | os.PathLike[str] | None) -> Path:
    if root is not None:
        return Path(root).expanduser()
    if "DMIC_DATA" not in os.environ:
        raise DataError(
            f"Where is DAVIS? Get it from {SOURCE}, and set DMIC_DATA to the folder that holds "
            "davis2016/JPEGImages and davis2016/Annotations, or pass root=, as in "
            "davis-clips?root=FOLDER. Clips without any data: phantom-clips."
        )
    path = Path(os.environ["DMIC_DATA"], "davis2016")
    if not path.is_dir():
        raise DataError(
            f"No folder {str(path)!r}. Get DAVIS from {SOURCE}, put its JPEGImages/ and "
            "Annotations/ there, or pass root=, as in davis-clips?root=FOLDER."
        )
    return path


def _chosen(
    sequences: str | Sequence[str] | None, there: Sequence[str], split: str | None, root: Path
) -> list[str]:
    """Return the names to read; `there` are those that the folder holds."""
    own = [name for name in there if split is None or (name in VAL) == (split == "val")]
    if not own:
        raise DataError(f"{str(root)!r} holds no sequence of DAVIS 2016's split {split!r}.")
    if sequences is None:
        return own
    wanted = sequences.split() if isinstance(sequences, str) else list(dict.fromkeys(sequences))
    if not wanted:
        raise InvalidInputError(f"sequences is empty; leave it out for all {len(own)}.")
    for name in wanted:
        if name not in own:
            raise unknown_name(f"sequence of split {split!r}" if split else "sequence", name, own)
    return wanted
