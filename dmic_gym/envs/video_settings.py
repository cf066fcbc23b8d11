"""The arguments of the environments of video, with errors that say what to type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Literal

from dmic_gym.envs.rewards import Reward
from dmic_gym.envs.settings import CodingArguments, EncoderSettings, Made, showing
from dmic_gym.envs.video_evaluator import Importance
from dmic_gym.errors import InvalidInputError, checked_integer, unknown_name
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.registry import task_of
from dmic_gym.tasks.segmenters.find import find_segmenter
from dmic_gym.tasks.segmenters.protocol import Segmenter

if TYPE_CHECKING:
    from dmic_gym.tasks.data.clips.registry import ClipSpec

Mode = Literal["frame", "ctu", "hierarchical"]
MODES: tuple[Mode, ...] = ("frame", "ctu", "hierarchical")
"""What a step decides: a frame's QP, a CTU's, or first the one and then the others."""

DEFAULT_CLIPS = "phantom-clips"
DEFAULT_GOP = 8


class VideoArguments(CodingArguments, total=False):
    """The fields of `VideoCodingSettings` but `dataset`, as keyword arguments."""

    mode: Mode
    gop: int
    importance: Importance


@dataclass(frozen=True)
class VideoCodingSettings(EncoderSettings):
    """What the environments of video can be told; `VideoCodingEnv` documents the fields."""

    dataset: ClipSpec | None = None
    _: KW_ONLY
    mode: Mode = "hierarchical"
    gop: int = DEFAULT_GOP
    importance: Importance = "previous"
    reward: Reward | str = "priced"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in MODES:
            raise unknown_name("mode", self.mode, MODES)
        checked_integer("gop", self.gop)

    def load_clips(self) -> Sequence[Clip]:
        """Return the clips: of `dataset`, else the task's for training, else synthetic ones."""
        task = self.chosen_task
        if self.dataset is None and task is not None:
            return task.load_clips("train")
        return make_clips(DEFAULT_CLIPS if self.dataset is None else self.dataset)

    def load_segmenter(self) -> Segmenter:
        """Return the segmenter: `segmenter`, else the task's, else the one that fits the clips."""
        if self.segmenter is None and self.task is None and self.dataset is not None:
            return find_segmenter(task_of(self.dataset).training_segmenter)
        return super().load_segmenter()


def make_clips(dataset: ClipSpec) -> Sequence[Clip]:
    """Return the clips named by `dataset`; raise InvalidInputError if there are none."""
    from dmic_gym.tasks.data.clips.registry import load_clips

    clips = load_clips(dataset)
    if len(clips) == 0:
        raise InvalidInputError("The data set is empty: pass at least one Clip.")
    return clips


def shows_video_settings(make: Made) -> Made:
    """Do for `VideoCodingSettings` what `shows_settings` does for `CodingSettings`."""
    return showing(make, VideoCodingSettings)
