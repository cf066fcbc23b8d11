"""`dmic pretrain`: HRLVSC's weights on a source domain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dmic_gym.agents.training.learn import new_model
from dmic_gym.agents.training.run import Training
from dmic_gym.tasks.data.sample import Sample


def pretrain(dataset: Sequence[Sample], training: Training) -> Path:
    """Train a policy from nothing and write it with its card.

    Args:
        dataset: annotated images of the source domain, such as `Davis`.
        training: how; its segmenter is the source domain's.

    Returns:
        The path of ``NAME.safetensors``.

    Raises:
        DmicError: as `Training.run`.
    """
    return training.run(
        dataset,
        lambda env: new_model(env, training.config, training.device),
        parts=None,
        facts={"start": "random"},
    )
