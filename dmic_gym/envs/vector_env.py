"""Many `CodingEnv` episodes in lockstep, encoded by a pool of threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode

from dmic_gym.envs.base import CodingSetup
from dmic_gym.envs.evaluator import EncodeResult, Reference
from dmic_gym.envs.image_view import view_of
from dmic_gym.envs.lockstep import LockstepEnv, Outcome
from dmic_gym.envs.observations import ObservationBuilder, observation_space
from dmic_gym.envs.parallel import default_workers
from dmic_gym.envs.settings import CodingArguments, CodingSettings, shows_settings
from dmic_gym.envs.setup import Ints
from dmic_gym.envs.vector_inputs import checked_groups
from dmic_gym.envs.verdict import Info
from dmic_gym.errors import checked_integer
from dmic_gym.tasks.data.pairs import DataSpec
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.types import RGB


class CodingVectorEnv(CodingSetup, LockstepEnv):
    """Many `CodingEnv` episodes in lockstep: ``gym.make_vec("CodingEnv-v0", num_envs=64)``.

    Same observations, actions, QP maps, bitstreams and figures as `CodingEnv` for the same seeds
    and actions. The episodes that end in a step are encoded in a thread pool and segmented in the
    batches that suit the segmenter best. Images may differ in size; their episodes then end at
    different steps. References with their importance maps and anchor encodes are shared by all
    sub-environments.

    Episodes follow one another as ``metadata["autoreset_mode"]`` says:

    - SAME_STEP (default): the step that ends an episode returns the next one's first observation;
      the last observation and info of the old one are in ``infos["final_obs"]`` and
      ``infos["final_info"]``.
    - NEXT_STEP: the step after it resets and ignores the action. Gymnasium's wrappers of vector
      observations need this mode or the next.
    - DISABLED: ``reset(options={"reset_mask": ended})`` starts the next one.

    Maps of different shapes make ``infos["qp_map"]`` an array of objects; Gymnasium's own vector
    environments (``vectorization_mode="sync"``) stop at them.

    Sub-environment i is seeded with ``seed + i``, or with item i of a list. ``reset(options=)``
    takes what `CodingEnv.reset` takes, for all sub-environments, or a list of `num_envs` values
    for one each (``{"sample": [0, 1, 2], "base_qp": 32}``), and Gymnasium's ``reset_mask``.

    A failure of codec or segmenter truncates the one episode that it hits. `max_failures` counts
    episodes in the order of their rows.

    Attributes:
        results: of the last episode that ended in each sub-environment, with bitstream and
            reconstruction; None before, and after a failure.

    Args:
        num_envs: number of episodes in step.
        autoreset_mode: `gymnasium.vector.AutoresetMode` or its name, see above.
        copy: return copies of the observation buffers; without, the next call overwrites what the
            last one returned.
        maps_per_image: neighbouring sub-environments that get one image and base QP, drawn by the
            first of them, so that their QP maps can be compared; `num_envs` must be a multiple.
        workers: threads that encode; default: one a processor.
        segment_batch: images the segmenter gets at once; default: measured at first use.
        render_mode: "rgb_array" or None.
        **arguments: those of `CodingEnv`.

    Raises:
        InvalidInputError: an argument is none of the valid ones.
        DataError: the folder holds no readable images.
    """

    results: list[EncodeResult | None]

    @shows_settings
    def __init__(
        self,
        num_envs: int = 1,
        dataset: DataSpec | None = None,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        copy: bool = True,
        maps_per_image: int = 1,
        workers: int | None = None,
        segment_batch: int | None = None,
        render_mode: str | None = None,
        **arguments: Unpack[CodingArguments],
    ) -> None:
        self.maps_per_image = checked_groups(maps_per_image, checked_integer("num_envs", num_envs))
        super().__init__(
            CodingSettings(dataset, **arguments),
            workers=default_workers() if workers is None else checked_integer("workers", workers),
            batch=None
            if segment_batch is None
            else checked_integer("segment_batch", segment_batch),
        )
        self.render_mode = render_mode
        choices = len(self.qp_offsets)
        self._set_up(
            num_envs, observation_space(), choices, autoreset_mode=autoreset_mode, copy=copy
        )
        self._last: list[tuple[Reference, EncodeResult] | None] = [None] * self.num_envs
        self._references: list[Reference | None] = [None] * self.num_envs
        self._builders = [ObservationBuilder(self._arrays, row) for row in range(self.num_envs)]

    @property
    def references(self) -> list[Reference]:
        """The image of each running episode with its importance map."""
        self._check_ready()
        return [self._reference(row) for row in range(self.num_envs)]

    @property
    def episode_base_qps(self) -> npt.NDArray[np.int64]:
        """The base QP of each running episode, int64 (num_envs,)."""
        return np.array([builder.base_qp for builder in self._builders])

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Return bool (num_envs, n): False for offsets that clip to the QP of one nearer to 0."""
        self._check_ready()
        return self._masks_of(self.episode_base_qps)

    def _drawn(self, row: int) -> RGB | None:
        reference, qp_map = self._reference(row), self._builders[row].qp_map()
        result = self.results[row] if self._ended[row] else None
        return self._picture(reference, qp_map, result, self._last[row])

    def _begin_rows(self, rows: Sequence[int], options: Sequence[Info]) -> dict[int, Info]:
        drawn: dict[int, tuple[Sample, int]] = {}
        for row in rows:
            first = row - row % self.maps_per_image
            drawn[row] = drawn.get(first) or self._draw(self._rng(row), options[row])
        references = self.evaluator.references([sample for sample, _ in drawn.values()])
        for (row, (_, base_qp)), reference in zip(drawn.items(), references, strict=True):
            self._references[row] = reference
            self._builders[row].begin(view_of(reference, self.ctu_size), base_qp)
        return {
            row: {"sample": sample.name, "base_qp": base_qp}
            for row, (sample, base_qp) in drawn.items()
        }

    def _act(self, rows: Sequence[int], actions: Ints) -> dict[int, Outcome]:
        table = self._qps_of(self.episode_base_qps)
        qps = table[np.arange(self.num_envs), actions].tolist()
        for row in rows:
            self._builders[row].decide(qps[row])
        over = [row for row in rows if self._builders[row].over]
        return self._finish(over) if over else {}

    def _finish(self, rows: Sequence[int]) -> dict[int, Outcome]:
        """Code and judge the episodes of `rows`."""
        jobs = [(self._reference(row), self._builders[row].qp_map()) for row in rows]
        ended = {}
        for row, job, found in zip(rows, jobs, self.evaluator.score_all(jobs), strict=True):
            builder = self._builders[row]
            verdict = self._conclude(job[0], builder.base_qp, job[1], found)
            self.results[row] = verdict.result
            if verdict.result is not None:
                self._last[row] = job[0], verdict.result
            ended[row] = Outcome(
                verdict.reward,
                not verdict.truncated,
                verdict.truncated,
                verdict.info,
                builder.observation(),
            )
        return ended

    def _reference(self, row: int) -> Reference:
        reference = self._references[row]
        assert reference is not None
        return reference
