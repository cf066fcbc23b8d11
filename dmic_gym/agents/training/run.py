"""What `dmic pretrain` and `dmic finetune` have in common: a run in a folder, and its card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from dmic_gym.agents.policy.freeze import trainable_share
from dmic_gym.agents.policy.loading import save_policy
from dmic_gym.agents.training.learn import TrainingConfig, check_out, follow, taught_parts
from dmic_gym.agents.training.progress import ProgressCallback, silent
from dmic_gym.agents.training.telemetry import GpuMonitor, TelemetryCallback
from dmic_gym.envs.sb3 import SB3CodingVecEnv, make_sb3_vec
from dmic_gym.errors import DataError, InvalidInputError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.find import segmenter_label
from dmic_gym.tasks.segmenters.protocol import SegmenterSpec
from dmic_gym.tasks.segmenters.weights import write_json

REWARD = "priced"
"""See `dmic_gym.envs.rewards.PricedReward`."""

RUN = "run.json"
"""What a folder's run was begun with."""

_MAY_CHANGE = ("steps", "checkpoint_every")


@dataclass(frozen=True)
class Record:
    """Words for the card: what the weights are made of and how to make them again."""

    data: Sequence[str] = ()
    command: str = ""
    notes: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Training:
    """How a policy is trained, whatever it starts from and learns from.

    Attributes:
        name: of the weights.
        out: folder for the weights, value_tables, checkpoints and TensorBoard's log.
        config: study, then A2C.
        segmenter: judges the decoded images, see `find_segmenter`; None is the shipped one.
        ctu_size: 64, 32 or 16.
        base_qps: QPs to learn at.
        envs: episodes at once.
        device: a torch device or "auto".
        resume: go on with the run in `out`.
        record: words for the card.
        on_progress: told of the progress.

    Raises:
        InvalidInputError: `name` is no file's name, or `out` holds a run and `resume` is False.
    """

    name: str
    out: Path
    config: TrainingConfig = field(default_factory=TrainingConfig)
    segmenter: SegmenterSpec = None
    ctu_size: int = 64
    base_qps: Sequence[int] = (22, 27, 32, 37, 42, 47)
    envs: int = 16
    device: str = "auto"
    resume: bool = False
    record: Record = field(default_factory=Record)
    on_progress: ProgressCallback = silent

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name:
            raise InvalidInputError(
                f"The weights' name {self.name!r} must be a plain file name, such as my-policy."
            )
        check_out(self.out, self.resume)

    def run(
        self,
        dataset: Sequence[Sample],
        start: Callable[[SB3CodingVecEnv], OnPolicyAlgorithm],
        *,
        parts: Sequence[str] | None,
        facts: Mapping[str, Any],
    ) -> Path:
        """Train on a data set and write the policy with its card.

        Args:
            dataset: annotated images.
            start: makes the model to train.
            parts: module prefixes to train; None trains all.
            facts: what the card says beside the config, JSON values.

        Returns:
            The path of ``NAME.safetensors``.

        Raises:
            InvalidInputError: an argument is not valid, or `out` was begun with others.
            WeightsError: a checkpoint in `out` is damaged, or the weights do not fit.
            DataError: an image is unreadable, or `out` cannot be written.
            FreezeError: a frozen tensor changed.
            CodecError: the codec failed.
        """
        env = make_sb3_vec(
            self.envs,
            seed=self.config.seed,
            dataset=dataset,
            segmenter=self.segmenter,
            ctu_size=self.ctu_size,
            base_qps=self.base_qps,
            reward=REWARD,
        )
        try:
            model = start(env)
            told = {**self._told(env), **facts}
            self._begin({"data": list(self.record.data), **told})
            with GpuMonitor() as monitor:
                follow(
                    model,
                    env,
                    self.config,
                    self.out,
                    parts=parts,
                    resume=self.resume,
                    callbacks=[TelemetryCallback(monitor)],
                    on_progress=self.on_progress,
                )
            trained = parts if self.config.steps else taught_parts(model, parts)
            learned = {
                "a2c_steps": model.num_timesteps,
                "trainable_share": 1.0
                if trained is None
                else trainable_share(model.policy, trained),
                "gpu": monitor.telemetry.as_json(),
            }
            return self._save(model, told | learned)
        finally:
            env.close()

    def _told(self, env: SB3CodingVecEnv) -> dict[str, Any]:
        """Return what decides how the training goes."""
        return {
            "config": asdict(self.config),
            "images": len(env.env.dataset),
            "ctu_size": self.ctu_size,
            "base_qps": list(self.base_qps),
            "envs": self.envs,
            "reward": REWARD,
            "segmenter": segmenter_label(env.env.evaluator.segmenter),
        }

    def _begin(self, told: Mapping[str, Any]) -> None:
        """Note what the run was begun with; refuse to go on with one that was begun otherwise."""
        path = self.out / RUN
        if self.resume and path.exists():
            _compare(self.out, json.loads(path.read_text()), told)
            return
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"Cannot write into {self.out}: {error}. Pass another --out."
            ) from error
        write_json(path, told)

    def _save(self, model: OnPolicyAlgorithm, metrics: Mapping[str, Any]) -> Path:
        return save_policy(
            model,
            self.out,
            self.name,
            data=self.record.data,
            command=self.record.command,
            metrics=metrics,
            notes=self.record.notes,
        )


def _compare(out: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    old, new = _flat(begun), _flat(json.loads(json.dumps(now)))
    names = [n for n in sorted(old.keys() | new.keys()) if old.get(n) != new.get(n)]
    if differing := [name for name in names if name not in _MAY_CHANGE]:
        words = "; ".join(f"{n} was {old.get(n)!r}, is {new.get(n)!r}" for n in differing)
        raise InvalidInputError(
            f"The run in {out} was begun otherwise: {words}. To go on with it, pass what it was "
            "begun with (only steps and device may change); for a new run, pass another --out."
        )


def _flat(told: Mapping[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in told.items() if k != "config"}, **told.get("config", {})}
