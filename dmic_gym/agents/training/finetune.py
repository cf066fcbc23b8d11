"""Carrying a policy over to another kind of image by tuning its head on a few of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from dmic_gym.agents.policy.loading import load_policy
from dmic_gym.agents.policy.network import HEAD
from dmic_gym.agents.policy.shipped import SHIPPED_POLICIES
from dmic_gym.agents.training.environments import TrainingEnv
from dmic_gym.agents.training.learn import a2c_arguments, new_model
from dmic_gym.agents.training.run import TrainingRun
from dmic_gym.agents.training.variations import Variations
from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.network import pick_device
from dmic_gym.tasks.segmenters.weights import find_weights

TUNE: dict[str, tuple[str, ...] | None] = {"head": HEAD, "all": None}
"""What is trained: the head, or all of it."""

RANDOM = "random"
"""In place of weights: new ones, drawn at random."""


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
    run: TrainingRun,
    *,
    weights: str | Path = "hrlvsc",
    tune: str = "head",
    variations: int = 8,
) -> Path:
    """Tune a policy on a few annotated images and write it with its card.

    The reward is the Dice against the experts' masks, so the segmenter must not have been trained
    on these images: it would flatter the policy. `dmic_gym.tasks.leakage` finds one.

    Args:
        samples: annotated images; one is enough.
        run: how and where.
        weights: where to start, a shipped name, a path, or "random".
        tune: "head" (2.7 % of the parameters, the rest stays bit-identical) or "all".
        variations: images in all, the samples themselves included; see `Variations`.

    Returns:
        The path of ``NAME.safetensors``.

    Raises:
        InvalidInputError: no such way to tune, or no sample with a mask.
        WeightsError: the weights do not fit.
        DmicError: as `TrainingRun.run`.
    """
    if tune not in TUNE:
        raise unknown_name("tune", tune, TUNE)
    dataset = Variations(samples, max(variations, len(samples)), run.config.seed)

    def start(env: TrainingEnv) -> OnPolicyAlgorithm:
        if weights == RANDOM:
            return new_model(env, run.config, run.device)
        device = str(pick_device(run.device))
        model = load_policy(weights, env, device=device, **a2c_arguments(run.config, env))
        assert isinstance(model, OnPolicyAlgorithm)
        return model

    facts = {
        "start": RANDOM if weights == RANDOM else identity_of(weights),
        "tune": tune,
        "names": [sample.name for sample in samples],
    }
    return run.run(dataset[:], start, parts=TUNE[tune], facts=facts)


def identity_of(weights: str | Path) -> str:
    """Return name and SHA-256 of the weights' file, the same wherever it lies."""
    path = Path(weights) if Path(weights).is_file() else find_weights(weights, SHIPPED_POLICIES)
    path = path.with_suffix(".safetensors") if path.suffix == ".json" else path
    return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
