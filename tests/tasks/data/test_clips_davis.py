"""DAVIS as clips: the official split, the size that is documented, the very pixels."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from dmic_gym.errors import DataError, InvalidInputError
from dmic_gym.tasks.data import DavisClips, load_clips, load_dataset
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.sequence import names_of

NEEDS_DATA = pytest.mark.skipif("DMIC_DATA" not in os.environ, reason="needs DMIC_DATA")
COUNTS = {"camel": 3, "bear": 2, "blackswan": 2, "bus": 1}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four sequences of 96x54 frames, two of either split."""
    rng = np.random.default_rng(3)
    for sequence, count in COUNTS.items():
        for kind, suffix in (("JPEGImages", ".jpg"), ("Annotations", ".png")):
            folder = tmp_path / "davis2016" / kind / "480p" / sequence
            folder.mkdir(parents=True)
            for n in range(count):
                coarse = rng.integers(0, 256, (9, 16, 3), dtype=np.uint8)
                pixels = coarse if suffix == ".jpg" else (coarse[..., 0] > 127).astype(np.uint8)
                large = cv2.resize(pixels, (96, 54), interpolation=cv2.INTER_NEAREST)
                (folder / f"{n:05}{suffix}").write_bytes(cv2.imencode(suffix, large)[1].tobytes())
    return tmp_path / "davis2016"


def test_the_official_list_decides_the_split(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMIC_DATA", str(root.parent))
    assert names_of(load_clips("davis-clips?split=val")) == ["blackswan", "camel"]
    assert names_of(load_clips("davis-clips?split=train")) == ["bear", "bus"]
    assert names_of(load_clips(root)) == sorted(COUNTS)
    assert names_of(load_clips(f"{root}?sequences=camel+bear")) == ["camel", "bear"]
    assert names_of(load_clips("davis-clips", sequences=["bus"])) == ["bus"]
    assert names_of(load_clips("davis-clips?select=1::2")) == ["blackswan", "camel"]


def test_frames_and_masks_are_those_of_the_image_data_set(root: Path) -> None:
    images = load_dataset(root, sequences="camel")
    (clip,) = load_clips(root, sequences="camel")
    assert clip.masks is not None
    assert clip.first_mask is not None
    assert np.array_equal(clip.frames, np.stack([sample.image for sample in images]))
    masks = [sample.mask for sample in images if sample.mask is not None]
    assert np.array_equal(clip.masks, np.stack(masks))
    assert np.array_equal(clip.first_mask, clip.masks[0])
    (short,) = load_clips(f"{root}?sequences=camel&frames=2")
    assert np.array_equal(short.frames, clip.frames[:2])
    assert len(load_clips(root, frames=9, sequences="bus")[0]) == 1


def test_scaled_frames_lose_a_rest_at_the_sides(root: Path) -> None:
    """96x54 at 27 rows is 48x27: halves of the pixels, whose middle 16 rows and 48 columns stay."""
    whole, small = load_clips(root)[1], load_clips(root, size=27)[1]
    assert small.shape == (16, 48)
    means = whole.frames.reshape(2, 27, 2, 48, 2).mean(axis=(2, 4))[:, 5:21]
    assert np.abs(small.frames - means).max() <= 0.5
    assert whole.masks is not None
    assert small.masks is not None
    cover = whole.masks.reshape(2, 27, 2, 48, 2).mean(axis=(2, 4))[:, 5:21]
    assert np.array_equal(small.masks, cover > 0.5)


def test_sequences_are_read_when_they_are_asked_for(root: Path) -> None:
    clips = load_clips(root, frames=1)
    broken = root / "JPEGImages/480p/bear/00000.jpg"
    broken.write_bytes(b"no picture")
    assert clips[1].name == "blackswan"
    assert [clip.name for clip in pickle.loads(pickle.dumps(clips))[1:]] == names_of(clips)[1:]
    assert "split=None" in repr(clips)
    with pytest.raises(DataError, match=r"bear/00000\.jpg"):
        clips[0]
    with pytest.raises(IndexError, match="4 sequences"):
        clips[4]


def test_what_lacks_is_named(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DMIC_DATA", raising=False)
    with pytest.raises(DataError, match=r"davischallenge\.org.*set DMIC_DATA.*phantom-clips"):
        load_clips("davis-clips")
    monkeypatch.setenv("DMIC_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match=r"davischallenge\.org.*root="):
        load_clips("davis-clips")
    with pytest.raises(InvalidInputError, match="Did you mean 'val'"):
        load_clips(f"davis-clips?root={root}&split=vall")
    with pytest.raises(InvalidInputError, match=r"'camle' .*'camel'|'camle'.*Did you mean 'camel'"):
        load_clips(root, sequences="camle")
    with pytest.raises(InvalidInputError, match=r"split 'val' 'bear'.*Valid: blackswan, camel"):
        load_clips(root, split="val", sequences="bear")
    with pytest.raises(InvalidInputError, match="16 or more"):
        load_clips(root, size=3)
    with pytest.raises(InvalidInputError, match="sequences is empty"):
        load_clips(root, sequences=[])
    for name in ("camel", "blackswan"):
        (root / "JPEGImages/480p" / name).rename(tmp_path / name)
    with pytest.raises(DataError, match="no sequence of DAVIS 2016's split 'val'"):
        DavisClips(root, "val")


def test_it_is_told_apart_from_images(root: Path) -> None:
    for spec in (
        "davis-clips",
        load_clips(root),
        load_clips(root, select="1:"),
        load_clips(root)[:1],
    ):
        with pytest.raises(InvalidInputError, match="load_clips"):
            load_dataset(spec)


@NEEDS_DATA
def test_the_sequences_at_hand() -> None:
    val, train = (load_clips(f"davis-clips?split={s}&size=240&frames=2") for s in ("val", "train"))
    assert (len(val), len(train)) == (14, 16)
    assert set(names_of(val)).isdisjoint(names_of(train))
    clip: Clip = val[names_of(val).index("dog")]
    assert clip.frames.shape == (2, 240, 416)
    place = Path(os.environ["DMIC_DATA"], "davis2016/JPEGImages/480p/dog/00001.jpg")
    grey = cv2.imread(str(place), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    means = grey.reshape(240, 2, 427, 2).mean(axis=(1, 3))[:, 5:421]
    assert np.abs(clip.frames[1] - means).max() <= 2.5  # libjpeg's grey is not that of its colour
    assert clip.masks is not None
    assert 0.02 < clip.masks.mean() < 0.5
