"""Consecutive frames of one scene, and the groups in which they are coded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from dmic_gym.errors import InvalidInputError, checked_integer
from dmic_gym.tasks.data.sample import Sample, read_only
from dmic_gym.types import Images, Mask, Masks


@dataclass(frozen=True, eq=False)
class Clip:
    """Consecutive frames of one scene and, where an expert drew them, their masks.

    Immutable, as `Sample` is: frames and masks are copies that cannot be written to.

    Attributes:
        frames: uint8 (T, H, W), grey, 0..255, at least one.
        masks: bool (T, H, W), True on the object, or None where there are none. Binary numbers are
            taken as `Sample` takes them.
        first_mask: bool (H, W), the object in the first frame, which a segmenter is told
            (semi-supervised video object segmentation, Perazzi et al., CVPR 2016); None where none
            is told. Left out, it is the first of `masks`.
        name: a name for tables and messages, unique within its data set.

    Raises:
        InvalidInputError: frames are not uint8 (T, H, W), a mask is not binary, or shapes differ.
    """

    frames: Images
    masks: Masks | None = None
    first_mask: Mask | None = None
    name: str = "clip"

    def __post_init__(self) -> None:
        frames = np.asarray(self.frames)
        if frames.dtype != np.uint8 or frames.ndim != 3 or frames.size == 0:
            raise InvalidInputError(
                f"Clip {self.name!r}: frames must be a non-empty uint8 array (T, H, W), got "
                f"{frames.dtype} {frames.shape}. Write np.stack([...]) for a list of grey frames."
            )
        masks = self.masks
        if masks is not None and len(masks) != len(frames):
            raise InvalidInputError(
                f"Clip {self.name!r}: {len(masks)} masks for {len(frames)} frames. Pass one a "
                "frame, or the first alone as first_mask."
            )
        first = self.first_mask if masks is None or self.first_mask is not None else masks[0]
        object.__setattr__(self, "frames", read_only(frames))
        object.__setattr__(self, "masks", None if masks is None else self._masks(masks))
        object.__setattr__(self, "first_mask", None if first is None else self._masks([first])[0])

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of every frame."""
        height, width = self.frames.shape[1:]
        return height, width

    def sample(self, index: int) -> Sample:
        """Return frame `index` as a still, with its mask where there is one."""
        mask = None if self.masks is None else self.masks[index]
        return Sample(self.frames[index], mask, f"{self.name}/{index:05}")

    def gops(self, length: int) -> list[Gop]:
        """Return the clip in groups of `length` frames; the last may be shorter."""
        step = checked_integer("length", length)
        return [Gop(self, n, min(n + step, len(self))) for n in range(0, len(self), step)]

    def _masks(self, masks: Any) -> Masks:
        checked = [Sample(self.frames[0], mask, self.name).mask for mask in masks]
        return read_only(np.stack([mask for mask in checked if mask is not None]))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.frames, self.masks, self.first_mask, self.name)


@dataclass(frozen=True)
class Gop:
    """A group of pictures: consecutive frames of a clip, the first coded intra.

    Attributes:
        clip: where they come from.
        start: index of the first.
        stop: index behind the last, above `start`.

    Raises:
        InvalidInputError: the clip has no such frames.
    """

    clip: Clip
    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop <= len(self.clip):
            raise InvalidInputError(
                f"Frames {self.start}..{self.stop} are not in {self.clip.name!r}, which has "
                f"{len(self.clip)}: take 0 <= start < stop <= {len(self.clip)}."
            )

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def name(self) -> str:
        """The clip's name and the index of the first frame."""
        return f"{self.clip.name}@{self.start}"

    @property
    def frames(self) -> Images:
        """The frames, uint8 (T, H, W)."""
        return self.clip.frames[self.start : self.stop]

    @property
    def masks(self) -> Masks | None:
        """The expert masks, bool (T, H, W), or None."""
        masks = self.clip.masks
        return None if masks is None else masks[self.start : self.stop]
