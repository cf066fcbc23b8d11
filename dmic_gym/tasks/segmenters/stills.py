"""Segmenters of clips on frames that are coded as images."""

from __future__ import annotations

from collections.abc import Sequence

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.clips.stills import clip_name
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.sequence import names_of
from dmic_gym.tasks.segmenters.protocol import PerClipSegmenter, PerSampleSegmenter, Segmenter


class StillSegmenters(PerSampleSegmenter):
    """For each frame of `Stills` the segmenter of its clip.

    Args:
        segmenter: has a segmenter for each clip, such as one that knows its first mask.
        clips: with distinct names; each is read when one of its frames is segmented first.

    Raises:
        InvalidInputError: two clips have one name.
    """

    def __init__(self, segmenter: PerClipSegmenter, clips: Sequence[Clip]) -> None:
        self.segmenter = segmenter
        self._clips = clips
        self._found: dict[str, Segmenter] = {}
        names = names_of(clips)
        self._places = {name: n for n, name in enumerate(names)}
        if len(self._places) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidInputError(f"Two clips are named {twice!r}: give each its own name.")

    def for_sample(self, sample: Sample) -> Segmenter:
        """Return the segmenter of the clip that a frame comes from.

        Raises:
            InvalidInputError: it comes from none of the clips, or as ``for_clip``.
        """
        name = clip_name(sample)
        if name not in self._places:
            raise InvalidInputError(
                f"{sample.name!r} is no frame of these clips: pass samples of Stills(clips)."
            )
        if name not in self._found:
            self._found[name] = self.segmenter.for_clip(self._clips[self._places[name]])
        return self._found[name]

    def describe(self) -> dict[str, str]:
        """Return what identifies the segmenter of clips."""
        return self.segmenter.describe()

    def __repr__(self) -> str:
        return f"StillSegmenters({self.segmenter!r})"


def segmenter_of_stills(segmenter: Segmenter, clips: Sequence[Clip]) -> Segmenter:
    """Return the segmenter itself or, of a `PerClipSegmenter`, `StillSegmenters` of the clips."""
    if isinstance(segmenter, PerClipSegmenter):
        return StillSegmenters(segmenter, clips)
    return segmenter
