"""Tasks: what has to survive the coding, and who says whether it did.

Importing this module loads neither a network nor an image library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.tasks.data.pairs import DataSpec
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.protocol import Segmenter, SegmenterSpec

if TYPE_CHECKING:
    from dmic_gym.tasks.data.clip import Clip
    from dmic_gym.tasks.data.clips.registry import ClipSpec
    from dmic_gym.tasks.metrics import Metric
    from dmic_gym.tasks.segmenters.posterior import Posterior


@dataclass(frozen=True)
class Task:
    """Data, segmenters and metric that belong together.

    Nothing is loaded before a method asks for it.

    Attributes:
        name: for tables.
        test: the images or clips that results are reported on, see `load_dataset`, `load_clips`.
        train: those that agents and segmenters may learn from, or None.
        segmenter: segments the decoded images, see `find_segmenter`.
        second: a held-out segmenter that scores and takes part in no decision, or None.
        folds: folder of the segmenter's folds, each for the training images that it has not seen;
            None where they are not at hand.
        posterior: the segmenter's calibrated posterior, a file of ``dmic fit-posterior``; None
            looks among those that are shipped and beside the segmenter's weights.
        metric: a key of `dmic_gym.tasks.metrics.METRICS`.
    """

    name: str
    test: DataSpec | ClipSpec
    train: DataSpec | ClipSpec | None = None
    segmenter: SegmenterSpec = "unet"
    second: SegmenterSpec = None
    folds: str | None = None
    posterior: str | None = None
    metric: str = "dice"

    def load_data(self, split: str = "test") -> Sequence[Sample]:
        """Return the images of a split, "test" or "train".

        Raises:
            InvalidInputError: no such split, or the task holds clips.
            DataError: the images are not there; the message says how to get them.
        """
        from dmic_gym.tasks.data.registry import load_dataset

        if self.kind == "clips":
            raise InvalidInputError(
                f"Task {self.name!r} holds clips, not images: code them in VideoCodingEnv-v0, or "
                "read them with load_clips."
            )
        return load_dataset(self._spec(split))

    def load_clips(self, split: str = "test") -> Sequence[Clip]:
        """Return the clips of a split, "test" or "train".

        Raises:
            InvalidInputError: no such split, or the task holds images.
            DataError: the clips are not there; the message says how to get them.
        """
        from dmic_gym.tasks.data.clips.registry import load_clips

        if self.kind == "images":
            raise InvalidInputError(
                f"Task {self.name!r} holds images, not clips: code them in CodingEnv-v0. Tasks of "
                "clips: davis, phantom-clips."
            )
        return load_clips(self._spec(split))

    @property
    def kind(self) -> Literal["images", "clips"]:
        """What the task's data are; see `is_clips`."""
        from dmic_gym.tasks.data.clips.registry import is_clips

        return "clips" if is_clips(self.test) else "images"

    def _spec(self, split: str) -> Any:
        spec = {"test": self.test, "train": self.train}.get(split)
        if spec is None:
            known = ["test"] if self.train is None else ["test", "train"]
            raise unknown_name(f"split of task {self.name!r}", split, known)
        return spec

    def load_segmenter(self, dtype: str = "auto") -> Segmenter:
        """Return the segmenter; see `find_segmenter` for errors."""
        from dmic_gym.tasks.segmenters.find import find_segmenter

        return find_segmenter(self.segmenter, dtype=dtype)

    def load_second(self, dtype: str = "auto") -> Segmenter | None:
        """Return the held-out segmenter, or None where the task has none."""
        from dmic_gym.tasks.segmenters.find import find_segmenter

        return None if self.second is None else find_segmenter(self.second, dtype=dtype)

    @property
    def training_segmenter(self) -> SegmenterSpec:
        """The segmenter for training images: the folds where they are at hand."""
        return self.folds or self.segmenter

    def load_posterior(self) -> Posterior | None:
        """Return the calibrated posterior of the segmenter, or None where none was fitted."""
        from dmic_gym.tasks.segmenters.posterior import posterior_of

        return posterior_of(self.load_segmenter(), self.posterior)

    def load_metric(self) -> Metric:
        """Return the metric; raise InvalidInputError where it is unknown."""
        from dmic_gym.tasks.metrics import METRICS

        if self.metric not in METRICS:
            raise unknown_name("metric", self.metric, METRICS)
        return METRICS[self.metric]

    def leakage(self) -> list[str]:
        """Return a sentence for each segmenter that was trained on a test image; see `leakage`.

        Raises:
            InvalidInputError, WeightsError: as `find_segmenter`.
            DataError: the images are not there.
        """
        if not isinstance(self.test, str | Path):
            return []  # a card names data sets, not objects
        from dmic_gym.tasks.data.sequence import names_of
        from dmic_gym.tasks.leakage import notes_on

        data = self.load_clips() if self.kind == "clips" else self.load_data()
        names, notes = names_of(data), []
        for spec in (self.segmenter, self.second):
            notes += notes_on(spec, str(self.test), names)
        return notes


TASKS = {
    task.name: task
    for task in (
        Task(
            "phantoms",
            test="phantoms?count=100&seed=1",
            train="phantoms?count=800&seed=2",
            second="second",
        ),
        Task(
            "angiograms",
            test="angiograms?split=test",
            train="angiograms?split=train",
            second="second",
        ),
        Task(
            "arcade",
            test="arcade?split=val",
            train="arcade?split=train",
            segmenter="arcade-unet",
            second="arcade-second",
            folds="arcade-folds",
        ),
        Task(
            "davis",
            test="davis-clips?split=val&size=240&frames=20",
            train="davis-clips?split=train&size=240&frames=20",
            segmenter="davis-net",
        ),
        Task(
            "phantom-clips",
            test="phantom-clips?count=20&seed=1",
            train="phantom-clips?count=200&seed=2",
            second="second",
        ),
    )
}
"""The tasks that come with the package, by name."""


def find_task(name: str) -> Task:
    """Return the task of that name.

    Raises:
        InvalidInputError: there is none; the message lists those there are.
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]


def task_of(data: Any, segmenter: SegmenterSpec = None, second: SegmenterSpec = None) -> Task:
    """Return a task of that name, or one made of a user's data and network.

    Args:
        data: a task's name, or images or clips to test or train on, see `load_dataset` and
            `load_clips`.
        segmenter: in place of the task's, or of the shipped network: that for angiograms, or that
            for clips with a first mask; see `find_segmenter`.
        second: in place of the task's held-out segmenter. A segmenter of the user's own has none
            unless it is given here.

    Raises:
        InvalidInputError: `data` names nothing.
    """
    if isinstance(data, str) and data in TASKS:
        task = TASKS[data]
    elif data is None:
        raise InvalidInputError(f"data is None: pass a task ({', '.join(TASKS)}) or a folder.")
    else:
        name = data if isinstance(data, str) else type(data).__name__
        task = Task(name, test=data, train=data, **_networks(data))
    if segmenter is not None:
        task = replace(task, segmenter=segmenter, second=None, folds=None, posterior=None)
    return task if second is None else replace(task, second=second)


def _networks(data: Any) -> dict[str, str]:
    """Return the shipped networks that fit a user's data."""
    from dmic_gym.tasks.data.clips.registry import is_clips

    angiograms = not is_clips(data) or str(data).startswith("phantom-clips")
    return {"second": "second"} if angiograms else {"segmenter": "davis-net"}
