"""What the encode-time search would do, image by image, for a policy to imitate."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dmic_gym.agents.belief import Beliefs
from dmic_gym.agents.objective import Objective, QPMap, Trial
from dmic_gym.agents.planning import SearchAgent
from dmic_gym.data.sample import Sample
from dmic_gym.envs.parallel import default_workers, start_pool
from dmic_gym.envs.rewards import bit_price
from dmic_gym.envs.task import CodingTask
from dmic_gym.errors import DataError, InvalidInputError


@dataclass(frozen=True, eq=False)
class Lesson:
    """The QP map that a search found for one image at one base QP.

    Attributes:
        name: of the image.
        base_qp: the anchor's QP.
        ctu_size: side of a CTU in luma samples.
        qp_map: int16 (rows, cols), absolute QPs.
    """

    name: str
    base_qp: int
    ctu_size: int
    qp_map: QPMap

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells lessons of one data set apart."""
        return self.name, self.base_qp, self.ctu_size


def collect_lessons(
    task: CodingTask,
    samples: Sequence[Sample],
    base_qps: Sequence[int],
    budget: int,
    path: Path,
    *,
    workers: int | None = None,
    on_lesson: Callable[[int, int], None] = lambda done, total: None,
) -> list[Lesson]:
    """Search each sample at each base QP; masks are not looked at.

    Each lesson is appended to `path` as it is found, so that a run that was stopped goes on where
    it was.

    Args:
        task: encoder and segmenter.
        samples: images; names must be distinct.
        base_qps: QPs 0..51.
        budget: encodes a search.
        path: JSON lines, read if it exists.
        workers: threads; default one a processor.
        on_lesson: called with the numbers of lessons done and in all.

    Raises:
        InvalidInputError: two images have one name, or the budget is too small.
        DataError: the file holds something else.
        CodecError: the codec failed.
    """
    beliefs = Beliefs(task.segmenter)
    agent = SearchAgent(budget, beliefs)
    size = task.codec.ctu_size
    jobs = _jobs(samples, base_qps)
    known = {lesson.key: lesson for lesson in _resumed(path)}
    missing = [(s, qp) for s, qp in jobs if (s.name, qp, size) not in known]
    stop = threading.Event()

    def search(sample: Sample, base_qp: int) -> Lesson:
        original = task.original(sample)
        objective = _Stoppable(stop, task, original, beliefs(original), bit_price(base_qp))
        return Lesson(sample.name, base_qp, size, agent.search(objective).qp_map)

    with start_pool(workers or default_workers()) as pool:
        pending = [pool.submit(search, sample, qp) for sample, qp in missing]
        try:
            for done, future in enumerate(as_completed(pending), len(jobs) - len(missing) + 1):
                lesson = future.result()
                known[lesson.key] = lesson
                _append(path, lesson)
                on_lesson(done, len(jobs))
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    return [known[sample.name, qp, size] for sample, qp in jobs]


def read_lessons(path: Path) -> list[Lesson]:
    """Read a file of lessons; a last line that was cut off is left out.

    Raises:
        DataError: it cannot be read or holds something else.
    """
    try:
        lines = path.read_text().splitlines(keepends=True)
        return [_parsed(line) for line in lines if line.endswith("\n")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a file of lessons ({error!r}).") from error


class _Stoppable(Objective):
    """An objective whose next encode does not happen once `stop` is set: Ctrl-C waits for one."""

    def __init__(self, stop: threading.Event, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._stop = stop

    def try_map(self, qp_map: npt.NDArray[np.integer[Any]]) -> Trial:
        if self._stop.is_set():
            raise CancelledError
        return super().try_map(qp_map)


def _jobs(samples: Sequence[Sample], base_qps: Sequence[int]) -> list[tuple[Sample, int]]:
    name, times = Counter(sample.name for sample in samples).most_common(1)[0]
    if times > 1:
        raise InvalidInputError(f"{times} images are named {name!r}: give each its own name.")
    return [(sample, qp) for sample in samples for qp in base_qps]


def _resumed(path: Path) -> list[Lesson]:
    """Read what a run before has found, and cut off a last line that it did not finish."""
    if not path.exists():
        return []
    lessons = read_lessons(path)
    os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    return lessons


def _parsed(line: str) -> Lesson:
    content = json.loads(line)
    qp_map = np.array(content["qp_map"], np.int16)
    return Lesson(content["name"], content["base_qp"], content["ctu_size"], qp_map)


def _append(path: Path, lesson: Lesson) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**vars(lesson), "qp_map": lesson.qp_map.tolist()}
    with path.open("a") as file:
        file.write(json.dumps(content) + "\n")
