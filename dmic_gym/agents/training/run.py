"""A training run in a folder, from its configuration to weights with a card."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from dmic_gym.agents.policy.freeze import trainable_share
from dmic_gym.agents.policy.loading import save_policy
from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.agents.training.environments import REWARD, TrainingEnv, make_training_env
from dmic_gym.agents.training.learn import (
    check_out,
    new_model,
    train,
)
from dmic_gym.agents.training.learning_log import HeldOut
from dmic_gym.agents.training.progress import ProgressCallback, TelemetryCallback, silent
from dmic_gym.agents.training.telemetry import GpuMonitor
from dmic_gym.envs.video_levels import Predictor
from dmic_gym.errors import DataError, InvalidInputError, checked_integer
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.find import describe_segmenter
from dmic_gym.tasks.segmenters.protocol import Segmenter, SegmenterSpec, segmenter_for
from dmic_gym.tasks.segmenters.stills import StillSegmenters
from dmic_gym.tasks.segmenters.weights import write_json

RUN = "run.json"
"""What a folder's run was begun with, and how long it has run."""

_MAY_CHANGE = {"steps", "checkpoint_every", "seconds"}


@dataclass(frozen=True)
class CardNotes:
    """Words for the card: what the weights are made of and how to make them again."""

    data: Sequence[str] = ()
    command: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class TrainingRun:
    """A run in a folder, whatever it starts from and learns from.

    Attributes:
        name: of the weights.
        out: folder for the weights, QP value tables, checkpoints and TensorBoard's log.
        config: what to do.
        segmenter: judges the decoded images, see `find_segmenter`; None is the shipped one.
        device: a torch device or "auto".
        resume: go on with the run in `out`.
        tables: folder of QP value tables that runs share, one after the other, and that makes each
            table once; None keeps them in `out`.
        card: words for the card.
        held_out: makes what judges the policy while it learns, with the run's evaluator.
        jobs: threads that encode and segment, which changes no result; None: one a processor.
        on_progress: told of the progress.

    Raises:
        InvalidInputError: `name` is no file's name, `jobs` is below 1, or `out` holds a run and
            `resume` is False.
    """

    name: str
    out: Path
    config: TrainingConfig = field(default_factory=TrainingConfig)
    segmenter: SegmenterSpec = None
    device: str = "auto"
    resume: bool = False
    tables: Path | None = None
    card: CardNotes = field(default_factory=CardNotes)
    held_out: Callable[[Any], HeldOut] | None = None
    jobs: int | None = None
    on_progress: ProgressCallback = silent

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name:
            raise InvalidInputError(
                f"The weights' name {self.name!r} must be a plain file name, such as my-policy."
            )
        if self.jobs is not None:
            checked_integer("jobs", self.jobs)
        check_out(self.out, self.resume)

    def run(
        self,
        dataset: Sequence[Sample] | Sequence[Clip],
        start: Callable[[TrainingEnv], OnPolicyAlgorithm] | None = None,
        *,
        parts: Sequence[str] | None = None,
        facts: Mapping[str, Any] | None = None,
        other: Predictor | None = None,
    ) -> Path:
        """Train on a data set and write the policy with its card.

        Args:
            dataset: annotated images or, where the configuration has a mode, clips.
            start: makes the model to train; None makes a new one.
            parts: module prefixes to train; None trains all.
            facts: what the card says beside the configuration, JSON values.
            other: plays the level of video that is not trained; None: frames keep the base QP, or
                CTUs their frame's.

        Returns:
            The path of ``NAME.safetensors``.

        Raises:
            InvalidInputError: an argument is not valid, or `out` was begun with others.
            WeightsError: a checkpoint in `out` is damaged, or the weights do not fit.
            DataError: an image is unreadable, or `out` cannot be written.
            FreezeError: a frozen tensor changed.
            CodecError: the codec failed.
        """
        config = self.config
        env = make_training_env(config, dataset, self.segmenter, other, self.jobs)
        try:
            model = start(env) if start else new_model(env, config, self.device)
            begun = {
                "data": list(self.card.data),
                "config": asdict(config),
                "images": len(dataset),
                "reward": REWARD,
                "segmenters": _segmenters(env.env.evaluator.segmenter, dataset),
                **(facts or {"start": "random"}),
            }
            with self._clock(begun), GpuMonitor() as monitor:
                train(
                    model,
                    env,
                    config,
                    self.out,
                    parts=parts,
                    resume=self.resume,
                    tables=self.tables,
                    callbacks=[TelemetryCallback(monitor)],
                    held_out=self.held_out(env.env.evaluator) if self.held_out else None,
                    workers=self.jobs,
                    on_progress=self.on_progress,
                )
            return self._save(model, begun, parts, asdict(monitor.telemetry))
        finally:
            env.close()

    @contextmanager
    def _clock(self, begun: dict[str, Any]) -> Iterator[None]:
        """Note what the run was begun with and how long it runs, over all its parts.

        Raises:
            InvalidInputError: the run in `out` was begun otherwise.
            DataError: `out` cannot be written.
        """
        path, started, before = self.out / RUN, time.monotonic(), 0.0
        if self.resume and path.exists():
            noted = json.loads(path.read_text())
            _compare(self.out, noted, begun)
            before = noted.get("seconds", 0.0)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"Cannot write into {self.out}: {error}. Pass another --out."
            ) from error
        write_json(path, {**begun, "seconds": before})
        try:
            yield
        finally:
            begun["seconds"] = before + time.monotonic() - started
            write_json(path, begun)

    def _save(
        self,
        model: OnPolicyAlgorithm,
        begun: Mapping[str, Any],
        parts: Sequence[str] | None,
        gpu: Mapping[str, Any],
    ) -> Path:
        share = 1.0 if parts is None else trainable_share(model.policy, parts)
        learned = {"a2c_steps": model.num_timesteps, "trainable_share": share, "gpu": gpu}
        return save_policy(
            model,
            self.out,
            self.name,
            data=self.card.data,
            command=self.card.command,
            metrics={**{key: begun[key] for key in begun if key != "data"}, **learned},
            notes=self.card.notes,
            critic=model.num_timesteps > 0,
        )


def _segmenters(segmenter: Segmenter, dataset: Sequence[Sample | Clip]) -> dict[str, str]:
    """Return name and SHA-256 of the segmenters that judge the images, stills or clips."""
    of_clips = isinstance(segmenter, StillSegmenters)
    samples = [] if of_clips else [sample for sample in dataset if isinstance(sample, Sample)]
    used = [segmenter_for(segmenter, sample) for sample in samples] or [segmenter]
    found = [describe_segmenter(one) for one in dict.fromkeys(used)]
    return {about["name"]: about["sha256"] for about in found}


def _compare(out: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    old, new = ({**run, **run.get("config", {})} for run in (begun, json.loads(json.dumps(now))))
    names = sorted((old.keys() | new.keys()) - _MAY_CHANGE - {"config"})
    if differing := [name for name in names if old.get(name) != new.get(name)]:
        words = "; ".join(f"{n} was {old.get(n)!r}, is {new.get(n)!r}" for n in differing)
        raise InvalidInputError(
            f"The run in {out} was begun otherwise: {words}. To go on with it, pass what it was "
            "begun with (only steps and device may change); for a new run, pass another --out."
        )
