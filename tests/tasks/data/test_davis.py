import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from dmic_gym.errors import DataError, InvalidInputError
from dmic_gym.tasks.data import Davis, load_dataset
from dmic_gym.tasks.data.sample import Sample

FRAME = np.random.default_rng(3).integers(0, 256, (48, 86, 3), dtype=np.uint8)
LABELS = np.zeros((48, 86), np.uint8)
LABELS[11:30, 21:50] = 1
LABELS[30:34, 20:50] = 255


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "DAVIS"
    for sequence, count in {"camel": 3, "bmx-trees": 2, "dog": 1}.items():
        for i in range(count):
            save(folder / f"JPEGImages/480p/{sequence}/{i:05d}.jpg", FRAME)
            save(folder / f"Annotations/480p/{sequence}/{i:05d}.png", LABELS)
    return folder


def names(samples: Davis) -> list[str]:
    return [sample.name for sample in samples]


def mask_of(sample: Sample) -> np.ndarray:
    assert sample.mask is not None
    return sample.mask


def test_frames_are_grey_with_any_label_as_object(root: Path) -> None:
    data = Davis(root)
    assert names(data) == [
        *("bmx-trees/00000", "bmx-trees/00001"),
        *("camel/00000", "camel/00001", "camel/00002", "dog/00000"),
    ]
    colour = cv2.imread(str(root / "JPEGImages/480p/dog/00000.jpg"))
    assert colour is not None
    luma = colour.astype(float) @ [0.114, 0.587, 0.299]
    assert np.abs(data[-1].image - luma).max() <= 0.51
    assert np.array_equal(mask_of(data[-1]), LABELS > 0)


def test_colour_labels_are_objects(root: Path) -> None:
    palette = np.zeros((48, 86, 3), np.uint8)
    palette[:24, :, 2] = 128
    palette[24:36, :, 0] = 64
    save(root / "Annotations/480p/dog/00000.png", palette)
    assert np.array_equal(mask_of(Davis(root, "dog")[0]), palette.any(axis=2))


def test_sequences_in_the_order_asked_for(root: Path) -> None:
    assert names(Davis(root, "dog")) == ["dog/00000"]
    data = Davis(str(root), ["dog", "bmx-trees", "dog"])
    assert names(data) == ["dog/00000", "bmx-trees/00000", "bmx-trees/00001"]
    assert [s.name for s in data[1:]] == ["bmx-trees/00000", "bmx-trees/00001"]
    assert names(pickle.loads(pickle.dumps(data))) == names(data)
    with pytest.raises(IndexError, match="3 frames"):
        data[3]


def test_size_is_the_height_and_keeps_the_aspect(root: Path) -> None:
    whole, half = Davis(root, "dog")[0], Davis(root, "dog", size=24)[0]
    assert half.image.shape == mask_of(half).shape == (24, 43)
    means = whole.image.reshape(24, 2, 43, 2).mean(axis=(1, 3))
    assert np.abs(half.image - means).max() <= 1
    cover = mask_of(whole).reshape(24, 2, 43, 2).mean(axis=(1, 3))
    assert np.array_equal(mask_of(half), cover > 0.5)


@pytest.mark.parametrize("size", [48, 49, 4000])
def test_small_frames_are_not_enlarged(root: Path, size: int) -> None:
    assert np.array_equal(Davis(root, size=size)[0].image, Davis(root)[0].image)


@pytest.mark.parametrize(
    ("size", "cause"), [(15, "Nearest: 16"), (-3, "Nearest: 16"), (2.5, "2.5")]
)
def test_bad_size(root: Path, size: int, cause: str) -> None:
    with pytest.raises(InvalidInputError, match=cause):
        Davis(root, size=size)


def test_unknown_sequence_names_the_nearest(root: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"Did you mean 'camel'.*bmx-trees, camel, dog"):
        Davis(root, ["dog", "camels"])
    with pytest.raises(InvalidInputError, match="pass None for all 3"):
        Davis(root, [])


def test_wrong_root_names_what_is_missing(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(DataError, match=f"Did you mean '{root}'"):
        Davis(root / "JPEGImages")
    with pytest.raises(DataError, match=f"Did you mean '{root}'"):
        Davis(root.parent)
    with pytest.raises(DataError, match=r"No folder .*nowhere"):
        Davis(root / "nowhere")
    bare = tmp_path_factory.mktemp("bare")
    with pytest.raises(DataError, match="no JPEGImages/480p/ and Annotations/480p/"):
        Davis(bare)
    (bare / "JPEGImages" / "480p").mkdir(parents=True)
    with pytest.raises(DataError, match=r"has no Annotations/480p/\."):
        Davis(bare)
    (bare / "Annotations" / "480p").mkdir(parents=True)
    with pytest.raises(DataError, match="No sequences"):
        Davis(bare)


def test_missing_files_are_named(root: Path) -> None:
    (root / "Annotations/480p/camel/00001.png").unlink()
    assert len(Davis(root, ["dog"])) == 1
    with pytest.raises(DataError, match=r"1 of 3 frames of 'camel'.*camel/00001\.png"):
        Davis(root)
    (root / "JPEGImages/480p/dog/00000.jpg").unlink()
    with pytest.raises(DataError, match=r"No frames NNNNN\.jpg in .*dog"):
        Davis(root, "dog")
    (root / "Annotations/480p/bmx-trees").rename(root / "Annotations/480p/bmx-tree")
    with pytest.raises(DataError, match=r"No folder .*bmx-trees.*Did you mean .*bmx-tree'"):
        Davis(root, "bmx-trees")


def test_frames_are_read_on_demand(root: Path) -> None:
    save(root / "Annotations/480p/dog/00000.png", LABELS[:20])
    (root / "JPEGImages/480p/camel/00000.jpg").write_bytes(b"")
    data = Davis(root)
    with pytest.raises(DataError, match=r"dog/00000\.png.*20 x 86.*dog/00000\.jpg.*48 x 86"):
        data[-1]
    with pytest.raises(DataError, match=r"Cannot read .*camel/00000\.jpg"):
        data[2]


def test_load_dataset_by_path_and_by_name(root: Path) -> None:
    for spec in (root, str(root)):
        found = load_dataset(spec)
        assert isinstance(found, Davis)
        assert len(found) == 6
    assert load_dataset(root, sequences="dog", size=24)[0].image.shape == (24, 43)
    by_text = load_dataset(f"{root}?sequences=dog,camel&size=24")
    assert [by_text[n].name.split("/")[0] for n in (0, -1)] == ["dog", "camel"]
    assert by_text[0].image.shape == (24, 43)
    assert len(load_dataset("davis", root=root, sequences=["camel"])) == 3
    with pytest.raises(InvalidInputError, match="Did you mean 'sequences'"):
        load_dataset(root, sequence="dog")
    with pytest.raises(InvalidInputError, match="'davis' needs root="):
        load_dataset("davis")


@pytest.mark.skipif("DMIC_DATA" not in os.environ, reason="needs the real videos")
def test_real_videos() -> None:
    data = load_dataset(Path(os.environ["DMIC_DATA"]) / "davis2016", size=240)
    assert isinstance(data, Davis)
    assert len(data) >= len(data.sequences) > 1
    for sample in data[:: max(len(data) // 5, 1)]:
        assert sample.image.shape == (240, 427)
        assert 0.001 < mask_of(sample).mean() < 0.9
        assert sample.image.std() > 10
