from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from dmic_gym.errors import InvalidInputError, WeightsError
from dmic_gym.tasks.data import load_dataset
from dmic_gym.tasks.data.phantoms.dataset import Phantoms
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.architectures import ARCHITECTURES, build
from dmic_gym.tasks.segmenters.crossval import THRESHOLDS, fold_blocks
from dmic_gym.tasks.segmenters.evaluate import mean_interval, measure, record_test
from dmic_gym.tasks.segmenters.fit import Epoch, Progress, Recipe, fit, segmentation_loss, step
from dmic_gym.tasks.segmenters.loader import Batches
from dmic_gym.tasks.segmenters.network import load_segmenter
from dmic_gym.tasks.segmenters.train import Network, train
from dmic_gym.tasks.segmenters.weights import SHIPPED, load_weights, read_card

TINY = {"channels": [8, 8, 16], "dilations": [1]}
FAST = Recipe(size=64)
SHIPPED_FILES = [f for f in SHIPPED.rglob("*.safetensors") if f.parent.name != "davis-net"]
"""Networks for images; `test_clip_segmenter` judges the heads for clips."""


def phantoms(count: int, seed: int = 0) -> Sequence[Sample]:
    return Phantoms(count, size=72, seed=seed)[:]


def batch(count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    samples = phantoms(count)
    images = np.stack([s.image for s in samples])[:, None].astype(np.float32) / 255.0
    masks = np.stack([s.mask for s in samples if s.mask is not None])[:, None]
    return torch.from_numpy(images), torch.from_numpy(masks.astype(np.float32))


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_gradients_reach_every_parameter_and_the_loss_falls(architecture: str) -> None:
    torch.manual_seed(0)
    module = build(architecture, TINY if architecture == "unet" else {"channels": 8})
    optimizer = torch.optim.AdamW(module.parameters(), 5e-3)
    images, masks = batch()
    first = step(module.train(), optimizer, images, masks)
    dead = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.abs().any()]
    assert dead == []
    losses = [step(module, optimizer, images, masks) for _ in range(15)]
    assert np.mean(losses[-3:]) < 0.9 * first


def test_the_loss_by_hand() -> None:
    masks = torch.tensor([[[[1.0, 0.0]]]])
    perfect = segmentation_loss(torch.tensor([[[[20.0, -20.0]]]]), masks)
    unsure = segmentation_loss(torch.zeros(1, 1, 1, 2), masks)
    assert float(perfect) == pytest.approx(0.0, abs=1e-6)
    assert float(unsure) == pytest.approx(np.log(2) + 1 - (2 * 0.5 + 1) / (1 + 1 + 1))


def test_same_seed_same_weights(tmp_path: Path) -> None:
    def hash_of(out: str, seed: int) -> str:
        (path,) = train(
            phantoms(5),
            out=tmp_path / out,
            epochs=2,
            seed=seed,
            network=Network(arguments=TINY),
            recipe=FAST,
        )
        return read_card(path).sha256

    before = torch.get_rng_state()
    assert hash_of("a", 1) == hash_of("b", 1) != hash_of("c", 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_card_tells_the_run_and_progress_is_reported(tmp_path: Path) -> None:
    seen: list[Epoch] = []
    (path,) = train(
        phantoms(3),
        out=tmp_path,
        epochs=2,
        seed=4,
        network=Network("mine", "unet", TINY, data=["3 phantoms"], command="dmic train-segmenter"),
        recipe=FAST,
        progress=seen.append,
    )
    assert [(e.network, e.number, e.total) for e in seen] == [("mine", 1, 2), ("mine", 2, 2)]
    assert all(e.loss > 0.0 for e in seen)
    card = read_card(path)
    assert (card.name, card.seed, card.data) == ("mine", 4, ["3 phantoms"])
    assert card.metrics["recipe"]["epochs"] == 2
    assert card.versions["torch"] == torch.__version__
    assert load_segmenter(path, "cpu")(phantoms(1)[0].image[None]).shape == (1, 72, 72)
    assert {p.suffix for p in tmp_path.iterdir()} == {".safetensors", ".json"}


def test_training_goes_on_from_given_weights(tmp_path: Path) -> None:
    network = Network("first", "unet", TINY)
    (first,) = train(phantoms(2), out=tmp_path, epochs=1, network=network, recipe=FAST)
    slow = Recipe(size=64, learning_rate=1e-9, average=0.0)
    network = Network("second", "unet", TINY, init=first)
    (second,) = train(phantoms(2), out=tmp_path, epochs=1, seed=5, network=network, recipe=slow)
    a, b = load_weights(first)[0], load_weights(second)[0]
    assert all(torch.allclose(a[n], b[n], atol=1e-3) for n in a if n.endswith("conv.weight"))
    with pytest.raises(WeightsError, match="does not fit"):
        train(phantoms(2), out=tmp_path, epochs=1, network=Network(init=first), recipe=FAST)


def test_folds_hold_out_each_sample_once(tmp_path: Path) -> None:
    samples = phantoms(5)
    network = Network("cv", "unet", TINY)
    paths = train(samples, out=tmp_path, epochs=1, folds=2, network=network, recipe=FAST)
    assert [p.stem for p in paths] == ["cv-fold0", "cv-fold1"]
    held = [read_card(p).metrics["held_out"] for p in paths]
    assert sorted([*held[0], *held[1]]) == [s.name for s in samples]
    assert held[1] == measure(load_segmenter(paths[1], "cpu"), samples[2:])
    summary = json.loads((tmp_path / "cv-folds.json").read_text())
    assert summary["images"] == held[0] | held[1]
    assert summary["dice_by_threshold"]["0.5"] == pytest.approx(summary["dice"], abs=1e-4)
    best = max(summary["dice_by_threshold"].values())
    assert summary["dice_at_other_folds_threshold"] <= best + 1e-4
    assert len(summary["dice_by_threshold"]) == len(THRESHOLDS)


def test_every_look_at_the_test_split_is_recorded(tmp_path: Path) -> None:
    network = Network("cv", "unet", TINY)
    (path,) = train(phantoms(2), out=tmp_path, epochs=1, network=network, recipe=FAST)
    record_test(path, phantoms(2, seed=1), "first")
    card = record_test(path, phantoms(2, seed=1), "second", ["2 phantoms"])
    assert card.metrics["looks_at_test"] == ["first", "second"]
    assert card.metrics["test_dice"] == pytest.approx(
        np.mean(list(card.metrics["test_images"].values())), abs=1e-4
    )
    low, high = card.metrics["test_interval"]
    assert low <= card.metrics["test_dice"] <= high
    assert card.metrics["test_data"] == ["2 phantoms"]
    assert card.metrics["milliseconds"]["float32"] > 0.0
    assert load_weights(path)[1] == card


def test_the_interval_of_a_mean_is_that_of_the_normal_law_where_images_are_many() -> None:
    values = np.random.default_rng(0).normal(0.8, 0.1, 400)
    low, high = mean_interval(values)
    half = 1.96 * float(values.std()) / 20.0
    assert [low, high] == pytest.approx([values.mean() - half, values.mean() + half], abs=0.001)
    assert mean_interval(np.array([0.25])) == [0.25, 0.25]


def test_fold_blocks_cover_everything_once() -> None:
    assert [len(b) for b in fold_blocks(40, 5)] == [8] * 5
    assert [i for b in fold_blocks(13, 4) for i in b] == list(range(13))


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path) -> None:
    blank = Sample(np.zeros((40, 40), np.uint8), None, "no-mask")
    with pytest.raises(InvalidInputError, match="'no-mask' has no mask"):
        train([*phantoms(2), blank], out=tmp_path)
    with pytest.raises(InvalidInputError, match="No samples"):
        train([], out=tmp_path)
    with pytest.raises(InvalidInputError, match=r"2\.\.2"):
        train(phantoms(2), out=tmp_path, folds=3)
    with pytest.raises(InvalidInputError, match="one name"):
        train([*phantoms(2), *phantoms(2)], out=tmp_path, folds=2)
    with pytest.raises(InvalidInputError, match="epochs is 0"):
        train(phantoms(2), out=tmp_path, epochs=0)
    with pytest.raises(InvalidInputError, match="Did you mean 'unet'"):
        train(phantoms(2), out=tmp_path, epochs=1, network=Network(architecture="unett"))


def test_fit_returns_an_average_in_eval_mode() -> None:
    module = build("unet", TINY)
    result = fit(module, phantoms(2), Recipe(epochs=1, size=64, batch=2))
    assert not result.training
    assert result is not module
    with pytest.raises(InvalidInputError, match="no mask"):
        fit(module, [Sample(np.zeros((9, 9), np.uint8))], Recipe(epochs=1, size=64))


class _CutOffError(Exception):
    pass


def _cut_after(epoch: int) -> Callable[[Epoch], None]:
    def report(done: Epoch) -> None:
        if done.number == epoch:
            raise _CutOffError

    return report


def test_a_run_that_was_cut_off_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    def run(out: str, progress: Progress | None = None, resume: bool = True, seed: int = 1) -> str:
        (path,) = train(
            phantoms(5),
            out=tmp_path / out,
            epochs=3,
            seed=seed,
            network=Network(arguments=TINY),
            recipe=FAST,
            progress=progress,
            resume=resume,
        )
        return read_card(path).sha256

    whole = run("whole")
    with pytest.raises(_CutOffError):
        run("cut", _cut_after(2))
    with pytest.raises(InvalidInputError, match="another recipe"):
        run("cut", seed=2)
    seen: list[Epoch] = []
    assert run("cut", seen.append) == whole
    assert [epoch.number for epoch in seen] == [3]
    assert {p.suffix for p in (tmp_path / "cut").iterdir()} == {".safetensors", ".json"}
    seen.clear()
    assert run("cut", seen.append) == whole
    assert seen == []
    assert run("cut", seen.append, resume=False) == whole
    assert len(seen) == 3


def test_folds_that_are_done_are_kept(tmp_path: Path) -> None:
    def run(progress: Progress) -> list[str]:
        network = Network("cv", "unet", TINY)
        paths = train(
            phantoms(4),
            out=tmp_path,
            epochs=2,
            folds=2,
            network=network,
            recipe=FAST,
            progress=progress,
            resume=True,
        )
        return [read_card(path).sha256 for path in paths]

    def cut_in_the_second(epoch: Epoch) -> None:
        if epoch.network == "cv-fold1":
            raise _CutOffError

    with pytest.raises(_CutOffError):
        run(cut_in_the_second)
    seen: list[Epoch] = []
    run(seen.append)
    assert [(epoch.network, epoch.number) for epoch in seen] == [("cv-fold1", 2)]


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "unet.checkpoint"
    for content in ([1], {"epoch": 1}, Path("an object")):
        torch.save(content, path)
        with pytest.raises(WeightsError, match="not a checkpoint"):
            train(phantoms(2), out=tmp_path, epochs=1, recipe=FAST, resume=True)
    for data in (b"", b"no checkpoint"):
        path.write_bytes(data)
        with pytest.raises(WeightsError, match="not a checkpoint"):
            train(phantoms(2), out=tmp_path, epochs=1, recipe=FAST, resume=True)


def test_threads_change_no_batch() -> None:
    samples = phantoms(5)
    made = [list(Batches(samples, 2, 64, 7, threads).epoch(3)) for threads in (0, 1, 3)]
    for batches in made:
        assert [len(images) for images, _ in batches] == [2, 2, 1]
        for (images, masks), (first_images, first_masks) in zip(batches, made[0], strict=True):
            assert torch.equal(images, first_images)
            assert torch.equal(masks, first_masks)


def test_an_epoch_that_is_left_early_stops_its_threads() -> None:
    batches = Batches(phantoms(6), 1, 64, 0, threads=2).epoch(1)
    next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("augment")]


@pytest.mark.skipif("DMIC_DATA" not in os.environ, reason="DMIC_DATA is not set")
@pytest.mark.parametrize("file", sorted(str(f.relative_to(SHIPPED)) for f in SHIPPED_FILES))
def test_shipped_networks_reach_their_cards_figure(file: str) -> None:
    card = read_card(SHIPPED / file)
    (where,) = card.metrics.get("test_data") or card.data[-1:]
    samples = load_dataset(os.path.expandvars(where))
    claimed = card.metrics.get("test_images") or card.metrics["held_out"]
    chosen = [sample for sample in samples if sample.name in claimed]
    assert len(chosen) == len(claimed)
    chosen = chosen[:: max(1, len(chosen) // 20)]
    scores = measure(load_segmenter(SHIPPED / file, "cpu"), chosen)
    expected = np.mean([claimed[sample.name] for sample in chosen])
    assert np.mean(list(scores.values())) == pytest.approx(expected, abs=0.003)
