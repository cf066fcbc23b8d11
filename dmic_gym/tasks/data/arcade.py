"""ARCADE, the data set of X-ray coronary angiograms with outlined coronary segments."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dmic_gym.errors import DataError, unknown_name
from dmic_gym.tasks.data.folder import ImageFolder, check_folder, check_same_size, read_grey
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.sequence import LazySamples
from dmic_gym.types import Mask

SPLITS = ("train", "val", "test")
SOURCE = "https://zenodo.org/records/10390295 (doi:10.1038/s41597-023-02871-z)"

_PLACES = ("", "syntax", "arcade", "arcade/syntax")
_LEFT_OUT = "stenosis"


class Arcade(LazySamples):
    """The X-ray coronary angiograms of ARCADE, 512x512, each with one mask of its vessels.

    Two layouts are read: the official one, `syntax/SPLIT/images/*.png` with
    `syntax/SPLIT/annotations/*.json` in COCO form, and a plain one, `SPLIT/images/NNNN.png` with
    `SPLIT/masks/NNNN.png`. A sample is named by its file's number in four digits, and samples
    are in the order of the numbers. A mask is the union of all SYNTAX segments' polygons; the
    class "stenosis" is left out.

    - Source: Popov et al., "Dataset for Automatic Region-based Coronary Artery Disease
      Diagnostics Using X-Ray Angiography Images", Scientific Data 11, 20 (2024),
      doi:10.1038/s41597-023-02871-z, files at Zenodo record 10390295. Licence: as published
      there. Cite it where you use the images.
    - Only branches that count for the SYNTAX score are outlined; a vessel that an expert left
      out is background.
    - Five images that were annotated twice agree with a Dice of 0.884 only (0.745 .. 0.941), so
      no segmenter can be expected to do better than that.
    - The official training split holds repeated images; a plain layout may have fewer for that.

    Args:
        root: the folder that holds `syntax/` or the splits, or one above it named `arcade`;
            default the folder that the environment variable DMIC_DATA names.
        split: "train", "val" or "test".

    Raises:
        InvalidInputError: unknown split.
        DataError: the images are not there; the message says where to get them. Also: an
            annotation file is missing, doubled or unreadable, or an image has no mask. On
            access: a file is unreadable, or of another size than its annotation says.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None, split: str = "train") -> None:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        self.split = split
        self.path = _split_folder(_root(root), split)
        official = (self.path / "annotations").is_dir()
        self._samples = _Official(self.path) if official else _plain(self.path)

    def __repr__(self) -> str:
        return f"Arcade({str(self.path.parent)!r}, split={self.split!r})"

    def __len__(self) -> int:
        return len(self._samples)

    def _content(self) -> str:
        return f"images of ARCADE's split {self.split!r}"

    def _read(self, index: int) -> Sample:
        sample = self._samples[index]
        return Sample(sample.image, sample.mask, self._name(index))

    def _name(self, index: int) -> str:
        return self._samples._name(index).zfill(4)


@dataclass(frozen=True)
class _Entry:
    """One image of a COCO file: its file's name, (height, width) and polygons x, y, x, y, ..."""

    file: str
    shape: tuple[int, int]
    polygons: list[Sequence[float]] = field(default_factory=list)


class _Official(LazySamples):
    """The images that one COCO file lists, with the union of their polygons."""

    def __init__(self, path: Path) -> None:
        self._folder = path / "images"
        self._annotations = _annotation_file(path / "annotations")
        entries = _read_annotations(self._annotations)
        self._entries = sorted(entries, key=lambda entry: Path(entry.file).stem.zfill(4))
        missing = [e.file for e in self._entries if not (self._folder / e.file).is_file()]
        if missing:
            raise DataError(
                f"{str(self._folder)!r} lacks {', '.join(missing[:3])} ({len(missing)} of the "
                f"{len(entries)} images in {self._annotations.name}). Unpack the archive again."
            )

    def __len__(self) -> int:
        return len(self._entries)

    def _content(self) -> str:
        return f"images in {self._annotations}"

    def _read(self, index: int) -> Sample:
        entry = self._entries[index]
        image = read_grey(self._folder / entry.file)
        check_same_size(self._folder / entry.file, image.shape, self._annotations, entry.shape)
        return Sample(image, _filled(entry.polygons, entry.shape), self._name(index))

    def _name(self, index: int) -> str:
        return Path(self._entries[index].file).stem


def _root(root: str | os.PathLike[str] | None) -> Path:
    if root is None and "DMIC_DATA" not in os.environ:
        raise DataError(
            f"Where is ARCADE? Get it from {SOURCE}, unpack it, and set DMIC_DATA to the folder "
            "that holds arcade/, or pass root=."
        )
    path = Path(os.environ["DMIC_DATA"] if root is None else root).expanduser()
    check_folder(path)
    return path


def _split_folder(root: Path, split: str) -> Path:
    for place in _PLACES:
        folder = root / place / split
        if (folder / "images").is_dir() and any(
            (folder / kind).is_dir() for kind in ("annotations", "masks")
        ):
            return folder
    there = sorted({s for s in SPLITS for p in _PLACES if (root / p / s / "images").is_dir()})
    found = f"there is {', '.join(there)}" if there else "looked for syntax/SPLIT and SPLIT"
    raise DataError(
        f"No ARCADE images of split {split!r} in {str(root)!r} ({found}, each with images/ and "
        f"annotations/ or masks/). Get them from {SOURCE}, unpack them there, or pass root=."
    )


def _plain(path: Path) -> ImageFolder:
    folder = ImageFolder(path)
    images, masks = ({file.stem for file in (path / k).iterdir()} for k in ("images", "masks"))
    if without := sorted(images - masks):
        raise DataError(
            f"{str(path / 'masks')!r} lacks {', '.join(without[:3])} ({len(without)} masks). "
            "Copy the folder again."
        )
    return folder


def _annotation_file(folder: Path) -> Path:
    files = sorted(folder.glob("*.json"))
    if len(files) != 1:
        raise DataError(f"{str(folder)!r} must hold one JSON file, not {len(files)}.")
    return files[0]


def _read_annotations(path: Path) -> list[_Entry]:
    try:
        content = json.loads(path.read_text())
        left_out = {c["id"] for c in content["categories"] if c["name"] == _LEFT_OUT}
        entries = {
            image["id"]: _Entry(str(image["file_name"]), (image["height"], image["width"]))
            for image in content["images"]
        }
        for annotation in content["annotations"]:
            if annotation["category_id"] not in left_out:
                entries[annotation["image_id"]].polygons.extend(_checked(annotation))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{str(path)!r} is not a COCO file of polygons ({error!r}). Unpack the archive again."
        ) from error
    return list(entries.values())


def _checked(annotation: Mapping[str, Any]) -> list[Sequence[float]]:
    polygons = annotation["segmentation"]
    if not isinstance(polygons, list) or any(len(p) % 2 or len(p) < 6 for p in polygons):
        raise ValueError(f"annotation {annotation.get('id')}: no list of polygons x, y, x, y, ...")
    return polygons


def _filled(polygons: Sequence[Sequence[float]], shape: tuple[int, int]) -> Mask:
    canvas = np.zeros(shape, np.uint8)
    for polygon in polygons:
        corners = np.rint(np.asarray(polygon, np.float64).reshape(-1, 2)).astype(np.int32)
        cv2.fillPoly(canvas, [corners], (1,))
    return np.asarray(canvas > 0)
