"""DAVIS, natural videos with object masks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dmic_gym.errors import DataError, InvalidInputError, checked_integer, unknown_name
from dmic_gym.tasks.data.folder import check_folder, check_same_size, read_grey
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.scaling import MIN_HEIGHT, shrunk
from dmic_gym.tasks.data.sequence import LazySamples

FRAMES = "JPEGImages"
MASKS = "Annotations"
RESOLUTION = "480p"


class Davis(LazySamples):
    """A lazy sequence of the frames of DAVIS, grey, with the mask of the objects.

    The official layout is read: `JPEGImages/480p/<sequence>/NNNNN.jpg` and
    `Annotations/480p/<sequence>/NNNNN.png`. Colour becomes grey as in `ImageFolder`; any label
    but 0 is object, so that the palette masks of DAVIS 2017 serve as well. Samples are named
    like `"camel/00003"` and come in the order of the sequences, then of the frames. Source:
    Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
    Segmentation", CVPR 2016.

    Args:
        root: the folder that holds JPEGImages/ and Annotations/.
        sequences: which to read, in this order; one name or several; default all, sorted.
        size: height in pixels, 16 or more, to which higher frames are scaled down, the width in
            proportion: the frame by area averaging, the mask True where objects cover more than
            half of a pixel's area. Frames of that height or less stay as they are.

    Raises:
        InvalidInputError: unknown sequence, none, or a size out of range.
        DataError: a folder, frame or mask is missing; on access: a file is unreadable or a mask's
            size differs from its frame's.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        sequences: str | Sequence[str] | None = None,
        size: int | None = None,
    ) -> None:
        self.root = Path(root).expanduser()
        self.size = None if size is None else checked_integer("size", size, MIN_HEIGHT)
        _check_layout(self.root)
        known = _subfolders(self.root / FRAMES / RESOLUTION)
        self.sequences = _chosen(sequences, known)
        self._frames = [frame for name in self.sequences for frame in _frames(self.root, name)]

    def __repr__(self) -> str:
        return f"Davis({str(self.root)!r}, sequences={self.sequences!r}, size={self.size})"

    def __len__(self) -> int:
        return len(self._frames)

    def _content(self) -> str:
        return f"frames in {self.root}"

    def _read(self, index: int) -> Sample:
        sequence, stem = self._frames[index]
        frame_path = self.root / FRAMES / RESOLUTION / sequence / f"{stem}.jpg"
        mask_path = self.root / MASKS / RESOLUTION / sequence / f"{stem}.png"
        frame, mask = read_grey(frame_path), read_grey(mask_path) > 0
        check_same_size(frame_path, frame.shape, mask_path, mask.shape)
        return shrunk(Sample(frame, mask, self._name(index)), self.size)

    def _name(self, index: int) -> str:
        return "/".join(self._frames[index])


def is_davis(path: Path) -> bool:
    """Whether `path` is a folder with JPEGImages/ and Annotations/."""
    return (path / FRAMES).is_dir() and (path / MASKS).is_dir()


def _check_layout(root: Path) -> None:
    check_folder(root)
    lost = [kind for kind in (FRAMES, MASKS) if not (root / kind / RESOLUTION).is_dir()]
    if not lost:
        return
    near = next((p for p in (*root.parents, *sorted(root.iterdir())) if is_davis(p)), None)
    hint = f" Did you mean {str(near)!r}?" if near is not None else ""
    names = " and ".join(f"{kind}/{RESOLUTION}/" for kind in lost)
    raise DataError(
        f"{str(root)!r} has no {names}.{hint} The layout is {FRAMES}/{RESOLUTION}/SEQUENCE/"
        f"NNNNN.jpg with {MASKS}/{RESOLUTION}/SEQUENCE/NNNNN.png."
    )


def _subfolders(folder: Path) -> list[str]:
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise DataError(f"No sequences in {str(folder)!r}.")
    return names


def _chosen(sequences: str | Sequence[str] | None, known: list[str]) -> tuple[str, ...]:
    if sequences is None:
        return tuple(known)
    wanted = (sequences,) if isinstance(sequences, str) else tuple(dict.fromkeys(sequences))
    if not wanted:
        raise InvalidInputError(f"sequences is empty; pass None for all {len(known)}.")
    for name in wanted:
        if name not in known:
            raise unknown_name("sequence", name, known)
    return wanted


def _frames(root: Path, sequence: str) -> list[tuple[str, str]]:
    """The (sequence, stem) of a sequence's frames; a frame without a mask is an error."""
    frames = root / FRAMES / RESOLUTION / sequence
    masks = root / MASKS / RESOLUTION / sequence
    stems = sorted(p.stem for p in frames.glob("*.jpg") if not p.name.startswith("."))
    if not stems:
        raise DataError(f"No frames NNNNN.jpg in {str(frames)!r}.")
    check_folder(masks)
    drawn = {p.stem for p in masks.glob("*.png")}
    lost = [stem for stem in stems if stem not in drawn]
    if lost:
        raise DataError(
            f"{len(lost)} of {len(stems)} frames of {sequence!r} have no mask; the first is "
            f"{str(masks / f'{lost[0]}.png')!r}."
        )
    return [(sequence, stem) for stem in stems]
