"""No image is scored by a network that was trained on it, and cards say what that is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data import Sample
from dmic_gym.tasks.leakage import UnseenSegmenters, card_of, notes_on, seen_names
from dmic_gym.tasks.segmenters.find import describe_segmenter, find_segmenter
from dmic_gym.tasks.segmenters.fit import Recipe
from dmic_gym.tasks.segmenters.protocol import PerSampleSegmenter
from dmic_gym.tasks.segmenters.train import Network, train
from dmic_gym.tasks.segmenters.weights import Card
from tests.support import phantoms, vesselness

SAMPLES = phantoms(4, 64)


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks, each trained without one half of the images of the folder MINE."""
    out = tmp_path_factory.mktemp("folds")
    network = Network("tiny", "unet", {"channels": [4, 8], "dilations": [1]}, data=["MINE"])
    train(SAMPLES, out=out, epochs=1, folds=2, network=network, recipe=Recipe(size=64))
    return out


@pytest.fixture
def davis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of DAVIS' layout, with two sequences of the training split and one of the other."""
    root = tmp_path / "davis2016"
    for name in ("bear", "bus", "camel"):
        for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
            folder = root / kind / "480p" / name
            folder.mkdir(parents=True)
            (folder / f"00000.{suffix}").write_bytes(b"")
    monkeypatch.setenv("DMIC_DATA", str(tmp_path))
    return root


def test_seen_names_are_those_of_the_folder_less_the_held_out(tmp_path: Path) -> None:
    card = Card("net", "unet", data=[f"{tmp_path} (3 images)"], metrics={"held_out": {"b": 0.7}})
    assert seen_names(card, f"{tmp_path}/.", "abc") == ["a", "c"]
    assert seen_names(card, f"{tmp_path}?select=1:", "abc") == ["a", "c"]
    assert seen_names(card, f"{tmp_path}/other", "abc") == []


def test_a_card_that_lists_its_images_is_believed(tmp_path: Path) -> None:
    card = Card("net", "unet", data=[str(tmp_path)], metrics={"trained_on": ["a"]})
    assert seen_names(card, str(tmp_path), "abc") == ["a"]


@pytest.mark.parametrize("data", ["phantoms?count=9", "phantoms?count=400&size=64&select=::2"])
def test_phantoms_are_known_by_seed_and_number(data: str) -> None:
    card = Card("net", "unet", data=["phantoms?count=3, first"])
    names = [f"phantom-{seed}-{n:04d}" for seed in (0, 1) for n in range(4)]
    assert seen_names(card, data, names) == names[:3]


def test_a_name_and_its_folder_are_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "angiograms" / "train").mkdir(parents=True)
    (tmp_path / "angiograms" / "train" / "01.png").write_bytes(b"")
    monkeypatch.setenv("DMIC_DATA", str(tmp_path))
    card = Card("net", "unet", data=["$DMIC_DATA/angiograms/train (40 images)"])
    assert seen_names(card, "angiograms?split=train", ["01"]) == ["01"]
    assert seen_names(card, f"{tmp_path}/angiograms/train", ["01"]) == ["01"]
    assert seen_names(card, "angiograms?split=test", ["01"]) == []


def test_who_has_seen_a_frame_has_seen_its_sequence(davis: Path) -> None:
    names = ["bear", "bus", "camel"]
    images = Card(
        "net", "unet", data=[f"{davis} (2 images)"], metrics={"trained_on": ["bus/00000"]}
    )
    assert seen_names(images, f"davis-clips?root={davis}", names) == ["bus"]
    assert seen_names(images, str(davis), ["bus/00001", "bear/00000"]) == ["bus/00001"]
    clips = Card("net", "unet", data=["davis-clips?split=train"])
    assert seen_names(clips, "davis-clips?split=val&size=240", ["camel"]) == []
    assert seen_names(clips, "davis-clips", names) == ["bear", "bus"]
    assert seen_names(clips, str(davis), ["bear/00000", "camel/00000"]) == ["bear/00000"]
    fold = Card("net", "unet", data=["davis-clips?split=train"], metrics={"held_out": {"bus": 0.8}})
    assert seen_names(fold, f"davis-clips?root={davis}", names) == ["bear"]


def test_phantom_clips_are_no_phantoms() -> None:
    card = Card("net", "unet", data=["phantom-clips?count=2&seed=3"])
    names = [f"phantom-clip-3-{n:04d}" for n in range(3)]
    assert seen_names(card, "phantom-clips?count=9&seed=3", names) == names[:2]
    assert seen_names(card, "phantoms", ["phantom-3-0000"]) == []


def test_each_image_gets_a_fold_that_has_not_seen_it(folds: Path) -> None:
    unseen = UnseenSegmenters({"MINE": SAMPLES}, [str(folds)], strict=True)
    found = [describe_segmenter(unseen.for_sample(sample))["name"] for sample in SAMPLES]
    assert found == ["tiny-fold0"] * 2 + ["tiny-fold1"] * 2
    assert unseen.notes == []
    varied = Sample(SAMPLES[0].image, SAMPLES[0].mask, f"{SAMPLES[0].name}~7")
    assert unseen.for_sample(varied) is unseen.for_sample(SAMPLES[0])
    assert unseen.describe()["name"] == "tiny-fold0, tiny-fold1"
    half = UnseenSegmenters({"MINE": SAMPLES[:2]}, [str(folds)], strict=True)
    assert half.describe() == describe_segmenter(half.for_sample(SAMPLES[0]))


def test_of_a_folder_of_folds_each_image_asks_its_own(folds: Path) -> None:
    names = [sample.name for sample in SAMPLES]
    assert notes_on(str(folds), "MINE", names) == []
    (note,) = notes_on(str(folds / "tiny-fold0.safetensors"), "MINE", names)
    assert "phantom-0-0002, phantom-0-0003 of MINE" in note


def test_the_shipped_folds_by_name() -> None:
    samples = [Sample(np.zeros((64, 64), np.uint8), None, name) for name in ("0001", "1000")]
    unseen = UnseenSegmenters({"arcade": samples}, ["arcade-folds"], strict=True)
    assert unseen.notes == []
    folds = find_segmenter("arcade-folds")
    assert isinstance(folds, PerSampleSegmenter)
    assert unseen.for_sample(samples[0]) is folds.for_sample(samples[0])
    first, last = "arcade-unet-fold0.safetensors", "arcade-unet-fold2.safetensors"
    assert unseen.description == (f"segmenter arcade-folds/{first}; segmenter arcade-folds/{last}")


def test_what_the_first_weights_have_seen_counts(folds: Path, tmp_path: Path) -> None:
    first, other = folds / "tiny-fold0.safetensors", [Sample(s.image, s.mask, "o") for s in SAMPLES]
    for name in ("second", "third"):
        network = Network(
            name, "unet", {"channels": [4, 8], "dilations": [1]}, init=first, data=["OTHER"]
        )
        (first,) = train(other[:2], out=tmp_path, epochs=1, network=network, recipe=Recipe(size=64))
    card = card_of(first)
    assert card is not None
    names = [sample.name for sample in SAMPLES]
    assert seen_names(card, "MINE", names) == names[2:]
    assert seen_names(card, "OTHER", ["o", *names]) == ["o"]


def test_a_network_that_has_seen_an_image_is_noted_or_refused(folds: Path) -> None:
    seen = str(folds / "tiny-fold0.safetensors")
    (note,) = UnseenSegmenters({"MINE": SAMPLES}, [seen], strict=False).notes
    assert "was trained on images phantom-0-0002, phantom-0-0003 of MINE" in note
    with pytest.raises(InvalidInputError, match=r"too high\. Train folds with .*--data MINE"):
        UnseenSegmenters({"MINE": SAMPLES}, [seen], strict=True)
    assert not UnseenSegmenters({"MINE": SAMPLES[:2]}, [seen], strict=True).notes


def test_several_data_sets_have_a_segmenter_each(folds: Path) -> None:
    other = Sample(np.zeros((64, 64), np.uint8), None, "other")
    images = {"MINE": SAMPLES, "THEIRS": [other]}
    unseen = UnseenSegmenters(images, [str(folds), "tests.support:vesselness"], strict=True)
    assert unseen.for_sample(other) is vesselness
    with pytest.raises(InvalidInputError, match="Two data sets have an image named"):
        UnseenSegmenters({"A": SAMPLES, "B": SAMPLES}, ["unet", "unet"], strict=False)


def test_cards_by_name_path_and_object(folds: Path) -> None:
    card = card_of("unet")
    assert card is not None
    assert card.name == "unet"
    fold = card_of(folds / "tiny-fold1.safetensors")
    assert fold is not None
    assert fold.name == "tiny-fold1"
    assert card_of(vesselness) is None
    assert card_of(None) is None
