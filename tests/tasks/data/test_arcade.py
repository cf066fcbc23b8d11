from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dmic_gym.errors import DataError, InvalidInputError
from dmic_gym.tasks.data import Arcade, load_dataset

SQUARE = [4.0, 6.0, 11.0, 6.0, 11.0, 9.0, 4.0, 9.0]
TRIANGLE = [20.0, 20.0, 28.0, 20.0, 20.0, 28.0]


def picture(seed: int, size: tuple[int, int] = (32, 40)) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def official(root: Path, split: str = "train") -> Path:
    """Two images whose ids, numbers and order in the file all differ."""
    folder = root / split
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number in (2, 10):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), picture(number))
    images = [
        {"id": i, "file_name": f"{n}.png", "height": 32, "width": 40} for i, n in ((7, 10), (3, 2))
    ]
    annotations = [
        {"id": 1, "image_id": 3, "category_id": 1, "segmentation": [SQUARE]},
        {"id": 2, "image_id": 3, "category_id": 5, "segmentation": [TRIANGLE]},
        {"id": 3, "image_id": 7, "category_id": 26, "segmentation": [SQUARE]},
        {"id": 4, "image_id": 7, "category_id": 5, "segmentation": [TRIANGLE, SQUARE[:6]]},
    ]
    categories = [{"id": i, "name": n} for i, n in ((1, "1"), (5, "5"), (26, "stenosis"))]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / f"{split}.json").write_text(json.dumps(content))
    return folder


def plain(root: Path, split: str = "train") -> Path:
    folder = root / split
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in (1, 4):
        cv2.imwrite(str(folder / "images" / f"{number:04}.png"), picture(number))
        mask = np.zeros((32, 40), np.uint8)
        mask[number] = 255
        cv2.imwrite(str(folder / "masks" / f"{number:04}.png"), mask)
    return folder


def rewrite(folder: Path, **changes: Any) -> None:
    file = folder / "annotations" / "train.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("place", ["", "syntax", "arcade", "arcade/syntax"])
def test_the_official_layout(tmp_path: Path, place: str) -> None:
    official(tmp_path / place)
    samples = Arcade(tmp_path)
    assert [sample.name for sample in samples] == ["0002", "0010"]
    assert np.array_equal(samples[0].image, picture(2))
    assert np.array_equal(samples[1].image, picture(10))


def test_a_mask_is_the_union_of_the_segments_without_stenosis(tmp_path: Path) -> None:
    official(tmp_path)
    first, second = Arcade(tmp_path)
    assert first.mask is not None
    assert second.mask is not None
    square, triangle = np.zeros((2, 32, 40), bool)
    square[6:10, 4:12] = True
    for row in range(20, 29):
        triangle[row, 20 : 49 - row] = True
    assert np.array_equal(first.mask, square | triangle)
    assert np.array_equal(second.mask & ~square, triangle)
    assert 0 < (second.mask & square).sum() < square.sum()  # half of it: three of its corners


def test_the_plain_layout(tmp_path: Path) -> None:
    plain(tmp_path)
    plain(tmp_path, "val")
    samples = load_dataset("arcade", root=tmp_path)
    assert repr(samples) == f"Arcade({str(tmp_path)!r}, split='train')"
    assert [sample.name for sample in samples] == ["0001", "0004"]
    assert np.array_equal(samples[1].image, picture(4))
    assert samples[1].mask is not None
    assert np.flatnonzero(samples[1].mask.any(1)).tolist() == [4]
    assert repr(load_dataset("arcade?split=val", root=tmp_path)).endswith("split='val')")


def test_the_folder_of_the_environment_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain(tmp_path / "arcade")
    monkeypatch.setenv("DMIC_DATA", str(tmp_path))
    assert len(load_dataset("arcade")) == 2
    monkeypatch.delenv("DMIC_DATA")
    with pytest.raises(DataError, match=r"10390295.*DMIC_DATA"):
        load_dataset("arcade")


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="Did you mean 'val'"):
        Arcade(tmp_path, "vall")
    with pytest.raises(DataError, match=r"split 'train'.*looked for.*10390295"):
        Arcade(tmp_path)
    plain(tmp_path)
    with pytest.raises(DataError, match=r"split 'test'.*there is train.*10390295"):
        Arcade(tmp_path, "test")
    with pytest.raises(DataError, match="No folder"):
        Arcade(tmp_path / "nowhere")


def test_an_incomplete_set_is_refused(tmp_path: Path) -> None:
    folder = plain(tmp_path / "plain")
    (folder / "masks" / "0004.png").unlink()
    with pytest.raises(DataError, match=r"lacks 0004 \(1 masks\)"):
        Arcade(tmp_path / "plain")
    folder = official(tmp_path / "official")
    (folder / "images" / "10.png").unlink()
    with pytest.raises(DataError, match=r"lacks 10\.png \(1 of the 2"):
        Arcade(tmp_path / "official")
    (folder / "annotations" / "copy.json").write_text("{}")
    with pytest.raises(DataError, match="one JSON file, not 2"):
        Arcade(tmp_path / "official")


def test_a_file_that_is_no_polygons_is_refused(tmp_path: Path) -> None:
    folder = official(tmp_path)
    file = folder / "annotations" / "train.json"
    content = json.loads(file.read_text())
    for segmentation in ({"counts": "x", "size": [2, 2]}, [[1.0, 2.0]], [[1.0] * 7]):
        wrong = content["annotations"][0] | {"segmentation": segmentation}
        rewrite(folder, annotations=[wrong])
        with pytest.raises(DataError, match=r"not a COCO file.*annotation 1"):
            Arcade(tmp_path)
    rewrite(folder, annotations=[content["annotations"][0] | {"image_id": 99}])
    with pytest.raises(DataError, match=r"not a COCO file.*99"):
        Arcade(tmp_path)
    file.write_text("{")
    with pytest.raises(DataError, match="not a COCO file"):
        Arcade(tmp_path)


def test_an_image_of_another_size_than_its_annotation_says(tmp_path: Path) -> None:
    folder = official(tmp_path)
    cv2.imwrite(str(folder / "images" / "2.png"), picture(2, (16, 16)))
    with pytest.raises(DataError, match=r"32 x 40.*16 x 16"):
        Arcade(tmp_path)[0]


@pytest.mark.skipif("DMIC_DATA" not in os.environ, reason="DMIC_DATA is not set")
@pytest.mark.parametrize(("name", "count"), [("arcade", 695), ("arcade?split=val", 200)])
def test_the_real_angiograms(name: str, count: int) -> None:
    samples = load_dataset(name)
    assert len(samples) == count
    for sample in samples[:: count // 10]:
        assert sample.image.shape == (512, 512)
        assert sample.mask is not None
        assert 0.005 <= sample.mask.mean() <= 0.09
