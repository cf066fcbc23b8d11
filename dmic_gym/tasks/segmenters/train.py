"""``dmic train-segmenter``: train, cross-validate, and write weights with their card."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dmic_gym.errors import InvalidInputError
from dmic_gym.io import versions_of
from dmic_gym.tasks.segmenters.architectures import build
from dmic_gym.tasks.segmenters.checkpoint import Checkpoint
from dmic_gym.tasks.segmenters.crossval import fold_blocks, summarize
from dmic_gym.tasks.segmenters.evaluate import measure
from dmic_gym.tasks.segmenters.fit import Epoch, Progress, Recipe, fit
from dmic_gym.tasks.segmenters.loader import Annotated, expert_mask
from dmic_gym.tasks.segmenters.network import load_segmenter
from dmic_gym.tasks.segmenters.weights import (
    Card,
    apply_weights,
    find_weights,
    load_weights,
    read_card,
    save_weights,
    training_stages,
    write_json,
)


@dataclass(frozen=True)
class Network:
    """Which network is trained, and what its card says of the run.

    Attributes:
        name: name of the files written.
        architecture: a key of :data:`~dmic_gym.tasks.segmenters.architectures.ARCHITECTURES`.
        arguments: keyword arguments of the architecture.
        init: weights to start from, a name or a path.
        data: words for the card: what the samples are.
        command: the command line for the card.
        notes: sentences for the card.
    """

    name: str = "unet"
    architecture: str = "unet"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    init: str | Path | None = None
    data: Sequence[str] = ()
    command: str = ""
    notes: Sequence[str] = ()


def train(
    samples: Sequence[Annotated],
    *,
    out: str | Path,
    epochs: int = 300,
    seed: int = 0,
    folds: int = 0,
    network: Network | None = None,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
    device: str = "auto",
    resume: bool = False,
) -> list[Path]:
    """Train a segmenter, or one per fold, and write each with its card.

    On a CPU the same arguments, torch version, machine and thread count give the same weights.
    After each epoch the state is in ``NAME.checkpoint``, which goes when the weights are written.

    Args:
        samples: images with expert masks.
        out: folder for ``NAME.safetensors`` and ``NAME.json``; made if missing.
        epochs: passes over the samples.
        seed: seeds weights, order and augmentation.
        folds: 0 trains on all samples. K >= 2 trains K networks ``NAME-fold0`` and so on, each
            without its block of consecutive samples (neighbours in a folder are often one
            patient), measures it there, and writes ``NAME-folds.json`` with all Dice.
        network: which network; the default is the small U-Net.
        recipe: all other knobs; ``epochs`` and ``seed`` override its own.
        progress: called after each epoch; it may raise to stop the run.
        device: a torch device, or ``"auto"``: CUDA where present, else the CPU.
        resume: go on from the checkpoint of a run with the same arguments, where there is one,
            and keep the networks that it finished.

    Returns:
        The paths of the safetensors files.

    Raises:
        InvalidInputError: no samples, one without a mask, too few for the folds, or the
            checkpoint is of another run.
        WeightsError: ``network.init`` does not fit.
    """
    network = network or Network()
    recipe = replace(recipe or Recipe(), epochs=epochs, seed=seed)
    _check(samples, epochs, folds)
    trainer = _Trainer(recipe, Path(out), device, resume, progress)
    if not folds:
        return [trainer.train(network, samples, ())]
    blocks = fold_blocks(len(samples), folds)
    paths = [
        trainer.train(
            replace(network, name=f"{network.name}-fold{k}"),
            [samples[i] for i in range(len(samples)) if i not in block],
            [samples[i] for i in block],
        )
        for k, block in enumerate(blocks)
    ]
    write_json(Path(out) / f"{network.name}-folds.json", summarize(paths, samples))
    return paths


def versions() -> dict[str, str]:
    """Return the versions that a card records."""
    return versions_of(("dmic_gym", "torch", "numpy", "opencv-python-headless"))


@dataclass(frozen=True)
class _Trainer:
    """Trains networks one after another, each from fresh or from its checkpoint."""

    recipe: Recipe
    out: Path
    device: str
    resume: bool
    progress: Progress | None

    def train(
        self, network: Network, samples: Sequence[Annotated], held_out: Sequence[Annotated]
    ) -> Path:
        """Train one network, measure it on what was held out, and write it with its card."""
        identity = self._identity(network, samples)
        path = self.out / f"{network.name}.safetensors"
        checkpoint = Checkpoint(path.with_suffix(".checkpoint"), identity)
        if not self.resume:
            checkpoint.forget()
        elif _is_finished(path, identity):
            return path
        seconds: list[float] = []
        module = fit(
            _fresh(network, self.recipe.seed),
            samples,
            self.recipe,
            self._reporter(network.name, seconds),
            device=self.device,
            checkpoint=checkpoint,
        )
        metrics = {key: identity[key] for key in ("init", "recipe", "trained_on")}
        if network.init is not None:
            metrics["before"] = training_stages(read_card(find_weights(network.init)))
        metrics |= {
            "samples": len(samples),
            "threads": torch.get_num_threads(),
            "seconds_an_epoch": [round(after - before, 1) for before, after in pairwise(seconds)],
        }
        path = _write(module, _card(network, self.recipe.seed, metrics), self.out, held_out)
        checkpoint.forget()
        return path

    def _identity(self, network: Network, samples: Sequence[Annotated]) -> dict[str, Any]:
        return {
            "architecture": network.architecture,
            "arguments": dict(network.arguments),
            "init": network.init and read_card(find_weights(network.init)).sha256,
            "recipe": asdict(self.recipe),
            "trained_on": [sample.name for sample in samples],
        }

    def _reporter(self, name: str, seconds: list[float]) -> Callable[[int, float], None]:
        seconds.append(time.perf_counter())

        def report(number: int, loss: float) -> None:
            seconds.append(time.perf_counter())
            if self.progress:
                spent = seconds[-1] - seconds[0]
                self.progress(Epoch(name, number, self.recipe.epochs, loss, spent))

        return report


def _is_finished(path: Path, identity: Mapping[str, Any]) -> bool:
    unfinished = path.with_suffix(".checkpoint").exists()
    if unfinished or not (path.is_file() and path.with_suffix(".json").is_file()):
        return False
    card = asdict(read_card(path))
    told = card | card["metrics"]
    return all(told.get(name) == value for name, value in identity.items())


def _write(module: torch.nn.Module, card: Card, out: Path, held_out: Sequence[Annotated]) -> Path:
    path = save_weights(module.state_dict(), card, out, half=True)
    if held_out:
        scores = measure(load_segmenter(path, "cpu"), held_out)
        mean = round(float(np.mean(list(scores.values()))), 4)
        metrics = card.metrics | {"held_out": scores, "held_out_dice": mean}
        path = save_weights(module.state_dict(), replace(card, metrics=metrics), out, half=True)
    return path


def _fresh(network: Network, seed: int) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build(network.architecture, network.arguments)
    if network.init is not None:
        tensors, card = load_weights(network.init)
        apply_weights(module, tensors, f"Weights {card.name!r}")
    return module


def _card(network: Network, seed: int, metrics: dict[str, Any]) -> Card:
    return Card(
        name=network.name,
        architecture=network.architecture,
        arguments=dict(network.arguments),
        data=list(network.data),
        command=network.command,
        seed=seed,
        versions=versions(),
        metrics=metrics,
        notes=list(network.notes),
    )


def _check(samples: Sequence[Annotated], epochs: int, folds: int) -> None:
    if not samples:
        raise InvalidInputError("No samples to train on. Pass at least one image with its mask.")
    for sample in samples:
        expert_mask(sample)
    if epochs < 1:
        raise InvalidInputError(f"epochs is {epochs}; the least is 1.")
    if folds and len({sample.name for sample in samples}) < len(samples):
        raise InvalidInputError(
            "Two samples have one name; folds need a name for each. Rename one."
        )
    if folds == 1 or folds < 0 or folds > len(samples):
        raise InvalidInputError(
            f"folds is {folds}; pass 0 for none, or 2..{len(samples)} with {len(samples)} samples."
        )
