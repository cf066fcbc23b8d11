"""Frames of clips as images."""

from __future__ import annotations

from collections.abc import Sequence

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.sequence import LazySamples


class Stills(LazySamples):
    """The frames of clips but the first of each, whose mask segmenters are told.

    Sample ``CLIP/FRAME`` is `Clip.sample` of that frame, such as ``camel/00003``. Every clip is
    read once for its length, then again when one of its frames is asked for; that used last is
    kept.

    Args:
        clips: each with a name of its own.

    Raises:
        InvalidInputError: no clip has a second frame.
    """

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = clips
        self.lasting = getattr(clips, "lasting", isinstance(clips, list | tuple))
        self._last: tuple[int, Clip] | None = None
        self._frames = [(n, frame) for n, clip in enumerate(clips) for frame in range(1, len(clip))]
        if not self._frames:
            raise InvalidInputError(
                f"None of the {len(clips)} clips has a frame behind the first, whose mask "
                "segmenters are told: pass clips of 2 frames or more."
            )

    def __repr__(self) -> str:
        return f"Stills({self.clips!r})"

    def __len__(self) -> int:
        return len(self._frames)

    def _content(self) -> str:
        return f"frames of {len(self.clips)} clips"

    def _read(self, index: int) -> Sample:
        place, frame = self._frames[index]
        return self._clip(place).sample(frame)

    def _clip(self, place: int) -> Clip:
        last = self._last
        if last is None or last[0] != place:
            last = self._last = (place, self.clips[place])
        return last[1]


def clip_name(still: Sample) -> str:
    """Return the name of the clip that a frame of `Stills` comes from."""
    return still.name.rpartition("/")[0]
