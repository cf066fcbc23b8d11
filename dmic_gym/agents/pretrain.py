"""`dmic pretrain`: HRLVSC's weights on a source domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dmic_gym.agents.course import Course, Notice, follow, new_model
from dmic_gym.agents.policy_weights import save_policy
from dmic_gym.agents.telemetry import GpuMonitor, TelemetryCallback
from dmic_gym.data.sample import Sample
from dmic_gym.diagnosis.segmenter import Segmenter
from dmic_gym.envs.sb3 import make_sb3_vec

DEFAULT_ENVS = 16


@dataclass(frozen=True)
class Record:
    """Words for the card: what the weights are made of and how to make them again."""

    data: Sequence[str] = ()
    command: str = ""
    notes: Sequence[str] = field(default=())


def pretrain(
    dataset: Sequence[Sample],
    *,
    out: str | Path,
    course: Course,
    segmenter: Segmenter | None = None,
    name: str = "hrlvsc",
    ctu_size: int = 64,
    base_qps: Sequence[int] = (22, 27, 32, 37, 42, 47),
    envs: int = DEFAULT_ENVS,
    device: str = "auto",
    resume: bool = False,
    record: Record | None = None,
    notice: Notice = lambda stage, done, total, word: None,
) -> Path:
    """Train a policy from nothing and write it with its card.

    Args:
        dataset: annotated images of the source domain, such as `Davis`.
        out: folder for the weights, lessons, checkpoints and TensorBoard's log.
        course: imitation, then A2C.
        segmenter: of the source domain; None is the shipped one.
        name: of the weights.
        ctu_size: 64, 32 or 16.
        base_qps: QPs to learn at.
        envs: episodes at once.
        device: a torch device or "auto".
        resume: go on with the run in `out`.
        record: words for the card.
        notice: told of the progress.

    Returns:
        The path of ``NAME.safetensors``.

    Raises:
        InvalidInputError: an argument is not valid, or `out` holds another run.
        DataError: an image is unreadable.
        CodecError: the codec failed.
    """
    record = record or Record()
    env = make_sb3_vec(
        envs,
        seed=course.seed,
        dataset=dataset,
        segmenter=segmenter,
        ctu_size=ctu_size,
        base_qps=base_qps,
    )
    try:
        model = new_model(env, course, device)
        with GpuMonitor() as monitor:
            follow(
                model,
                env,
                course,
                Path(out),
                resume=resume,
                callbacks=[TelemetryCallback(monitor)],
                notice=notice,
            )
        return save_policy(
            model,
            out,
            name,
            data=record.data,
            command=record.command,
            metrics=course_metrics(course, len(dataset), ctu_size, base_qps, monitor),
            notes=record.notes,
        )
    finally:
        env.close()


def course_metrics(
    course: Course,
    samples: int,
    ctu_size: int,
    base_qps: Sequence[int],
    monitor: GpuMonitor,
) -> dict[str, Any]:
    """Return what a card says of a run."""
    return {
        "course": asdict(course),
        "samples": samples,
        "ctu_size": ctu_size,
        "base_qps": list(base_qps),
        "gpu": monitor.telemetry.as_json(),
    }
