"""How a policy is trained: the one configuration of a run."""

from __future__ import annotations

from dataclasses import dataclass

from dmic_gym.envs.vector_inputs import checked_groups
from dmic_gym.envs.video_settings import Mode
from dmic_gym.errors import InvalidInputError


@dataclass(frozen=True)
class TrainingConfig:
    """What decides how a training run goes, beside data, segmenter and start.

    Attributes:
        epochs: of the supervised warm start, passes over the images' QP value tables, or over the
            steps of the agent to imitate; 0 leaves it out.
        warm_start_rate: its peak learning rate.
        steps: A2C steps (CTUs) after it; 0 leaves A2C out.
        learning_rate: of A2C.
        ctu_size: 64, 32 or 16.
        base_qps: QPs to learn at.
        envs: episodes at once.
        seed: of weights, order, exploration.
        checkpoint_every: A2C steps between checkpoints.
        credit: pay each CTU for what it did, see `CreditCallback`; a rollout then holds one episode
            of each of the `envs`.
        maps: with `credit`, maps of one image at one base QP that are compared with each other;
            with 1 the critic is the baseline. `envs` must be a multiple.
        entropy: weight of the policy's entropy at the first step and at the last.
        preset: x265's.
        inputs: what the trunk of a new `DMICPolicy` looks at: "pixels", "numbers" or "both".
        mode: `VideoCodingEnv`'s, what is decided of clips: "ctu", "frame" or "hierarchical"; None
            where images are learned from. Clips are learned from with credit, and their warm start
            is by imitation.
        imitate: agent that the warm start imitates, as ``dmic bench --agents`` takes it; None:
            the warm start learns from QP value tables.

    Raises:
        InvalidInputError: a number is negative, a rate is not above 0, `envs` is no multiple of
            `maps`, or nothing is to be done.
    """

    epochs: int = 35
    warm_start_rate: float = 1e-3
    steps: int = 100_000
    learning_rate: float = 2e-4
    ctu_size: int = 64
    base_qps: tuple[int, ...] = (22, 27, 32, 37, 42, 47)
    envs: int = 16
    seed: int = 0
    checkpoint_every: int = 5_000
    credit: bool = False
    maps: int = 1
    entropy: tuple[float, float] = (0.003, 0.003)
    preset: str = "medium"
    inputs: str = "both"
    mode: Mode | None = None
    imitate: str | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "seed"):
            if (value := getattr(self, name)) < 0:
                raise InvalidInputError(f"{name}={value} is negative. Nearest: 0.")
        for name in ("warm_start_rate", "learning_rate", "checkpoint_every"):
            if not (value := getattr(self, name)) > 0:
                raise InvalidInputError(f"{name}={value} must be above 0.")
        checked_groups(self.maps, self.envs)
        if self.mode is not None and not self.credit:
            raise InvalidInputError("Clips need credit: pass credit=True.")
        if self.mode is not None and self.epochs and self.imitate is None:
            raise InvalidInputError(
                f"Clips have no QP value tables to learn from, got epochs={self.epochs}. Pass "
                'epochs=0 (--epochs 0), or imitate="cap" (--imitate cap).'
            )
        if self.imitate is not None and not self.epochs:
            raise InvalidInputError(
                f"imitate={self.imitate!r} is of a warm start: pass epochs above 0."
            )
        if not self.steps and not self.epochs:
            raise InvalidInputError("Nothing would be learned: pass steps or epochs above 0.")
