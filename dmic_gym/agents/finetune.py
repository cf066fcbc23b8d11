"""`dmic finetune`: carry a policy over to another kind of image by tuning its head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from dmic_gym.agents.course import Course, Notice, a2c_arguments, follow, new_model
from dmic_gym.agents.freeze import trainable_share
from dmic_gym.agents.hrlvsc import HEAD
from dmic_gym.agents.policy_weights import load_policy, save_policy
from dmic_gym.agents.pretrain import DEFAULT_ENVS, Record, course_metrics
from dmic_gym.agents.telemetry import GpuMonitor, TelemetryCallback
from dmic_gym.agents.variations import Variations
from dmic_gym.data.sample import Sample
from dmic_gym.diagnosis.segmenter import Segmenter
from dmic_gym.envs.sb3 import SB3CodingVecEnv, make_sb3_vec
from dmic_gym.errors import InvalidInputError, unknown_name

TUNE: dict[str, tuple[str, ...] | None] = {"head": HEAD, "all": None, "scratch": None}
"""What is trained: the head, all of it, or all of it from random weights."""


def choose_samples(dataset: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """Draw annotated samples at random, the same for the same seed.

    Raises:
        InvalidInputError: there are not so many with a mask.
    """
    annotated = [sample for sample in dataset if sample.mask is not None and sample.mask.any()]
    if not 1 <= count <= len(annotated):
        raise InvalidInputError(
            f"samples={count}, but {len(annotated)} images have a mask that is not empty. "
            f"Nearest: {min(max(count, 1), max(len(annotated), 1))}."
        )
    order = np.random.default_rng(seed).permutation(len(annotated))[:count]
    return [annotated[place] for place in order.tolist()]


def finetune(
    samples: Sequence[Sample],
    *,
    out: str | Path,
    course: Course,
    weights: str | Path = "hrlvsc",
    tune: str = "head",
    variations: int = 12,
    segmenter: Segmenter | None = None,
    name: str = "dmic",
    ctu_size: int = 64,
    base_qps: Sequence[int] = (22, 27, 32, 37, 42, 47),
    envs: int = DEFAULT_ENVS,
    device: str = "auto",
    resume: bool = False,
    record: Record | None = None,
    notice: Notice = lambda stage, done, total, word: None,
) -> Path:
    """Tune a policy on a few annotated images and write it with its card.

    The reward is the Dice against the experts' masks, so `segmenter` must not have been trained
    on these images: it would flatter the policy.

    Args:
        samples: annotated images; one is enough.
        out: folder for the weights, lessons, checkpoints and TensorBoard's log.
        course: imitation of the search on these images, then A2C.
        weights: where to start, a shipped name or a path.
        tune: "head" (2.7 % of the parameters, the rest stays bit-identical), "all", or "scratch".
        variations: images in all, the samples themselves included; see `Variations`.
        segmenter: None is the shipped one.
        name: of the weights written.
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
        WeightsError: the weights do not fit.
        FreezeError: a frozen tensor changed.
        CodecError: the codec failed.
    """
    if tune not in TUNE:
        raise unknown_name("tune", tune, TUNE)
    record = record or Record()
    env = make_sb3_vec(
        envs,
        seed=course.seed,
        dataset=Variations(samples, max(variations, len(samples)), course.seed)[:],
        segmenter=segmenter,
        ctu_size=ctu_size,
        base_qps=base_qps,
    )
    try:
        model = _start(env, course, weights, tune, device)
        with GpuMonitor() as monitor:
            follow(
                model,
                env,
                course,
                Path(out),
                parts=TUNE[tune],
                resume=resume,
                callbacks=[TelemetryCallback(monitor)],
                notice=notice,
            )
        metrics = course_metrics(course, len(samples), ctu_size, base_qps, monitor) | {
            "start": "random" if tune == "scratch" else str(weights),
            "tune": tune,
            "trainable_share": trainable_share(model.policy) if tune == "head" else 1.0,
            "names": [sample.name for sample in samples],
            "variations": variations,
        }
        return save_policy(
            model,
            out,
            name,
            data=record.data,
            command=record.command,
            metrics=metrics,
            notes=record.notes,
        )
    finally:
        env.close()


def _start(
    env: SB3CodingVecEnv, course: Course, weights: str | Path, tune: str, device: str
) -> OnPolicyAlgorithm:
    if tune == "scratch":
        return new_model(env, course, device)
    return load_policy(weights, env, device=device, **a2c_arguments(course))
