"""Folders of images with expert masks beside them."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Collection
from pathlib import Path

import numpy as np

from dmic_gym.errors import DataError, DmicError
from dmic_gym.tasks.data.picture_files import READABLE, read_pixels
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.sequence import LazySamples
from dmic_gym.types import Image, Mask

MASK_ENDINGS = ("_gt", "_mask")
_KINDS = "|".join(suffix.lstrip(".") for suffix in READABLE)
_LAYOUTS = (
    f"NAME.({_KINDS}) with an optional NAME_gt.* beside it, or images/NAME.* with masks/NAME.*"
)


class ImageFolder(LazySamples):
    """A lazy sequence of the images in a folder, sorted by name, with their masks if any.

    Two layouts are known: `NAME.(png|pgm|tif|tiff|jpg|jpeg|bmp|gif|webp|jp2)` with `NAME_gt.*`
    (or `NAME_mask.*`) beside it, and `images/NAME.*` with `masks/NAME.*` (or `NAME_gt.*`,
    `NAME_mask.*` there); capitals do not matter. A mask is optional, image by image; masks
    without an image are named in a warning. Files are opened when an item is asked for and
    nothing is cached.

    Colour files become grey by ITU-R BT.601 luma, 0.299 R + 0.587 G + 0.114 B; an alpha channel
    is ignored, and images and masks are turned as EXIF or TIFF asks for (`read_pixels`). A mask
    holds 0 and 255 (True above 127, so that lossy noise does not show) or, in a lossless file, 0
    and 1.

    Args:
        path: the folder.

    Raises:
        DataError: the folder is missing or has no images; two files have the same stem; or, on
            access, a file is unreadable, truncated or not 8 bits deep, or a mask's size differs
            from its image's, or its values are neither. The message names the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        check_folder(self.path)
        nested = (self.path / "images").is_dir()
        images = _by_stem(self.path / "images" if nested else self.path)
        masks: dict[str, Path] = {}
        if not nested:
            masks = {stem: images.pop(stem) for stem in list(images) if is_mask(stem)}
        elif (self.path / "masks").is_dir():
            masks = _by_stem(self.path / "masks")
        if not images:
            only = f" (only {len(masks)} masks)" if masks else ""
            raise DataError(f"No images in {str(self.path)!r}{only}. Looked for {_LAYOUTS}.")
        self._images = [images[stem] for stem in sorted(images)]
        paired = _by_image(masks, images)
        self._masks = [paired.get(stem) for stem in sorted(images)]
        if lost := sorted(path.name for stem, path in paired.items() if stem not in images):
            warnings.warn(
                f"{len(lost)} masks in {str(self.path)!r} belong to no image: {', '.join(lost)}.",
                stacklevel=2,
            )

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.path)!r})"

    def __len__(self) -> int:
        return len(self._images)

    def _content(self) -> str:
        return f"images in {self.path}"

    def _read(self, index: int) -> Sample:
        return read_sample(self._images[index], self._masks[index], self._name(index))

    def _name(self, index: int) -> str:
        return self._images[index].stem


def read_sample(image_path: Path, mask_path: Path | None, name: str) -> Sample:
    """Read an image file and, where there is one, its mask of 0 and 255 or 0 and 1.

    Raises:
        DataError: a file is unreadable, the mask holds other values, or the sizes differ.
    """
    image = read_grey(image_path)
    mask = None if mask_path is None else read_mask(mask_path)
    if mask is not None and mask_path is not None:
        check_same_size(image_path, image.shape, mask_path, mask.shape)
    return Sample(image, mask, name)


def check_same_size(
    image_path: Path, image: tuple[int, ...], mask_path: Path, mask: tuple[int, ...]
) -> None:
    """Raise DataError, naming both files, where a mask is not of its image's (height, width)."""
    if mask != image:
        raise DataError(
            f"Mask {str(mask_path)!r} is {mask[0]} x {mask[1]} (height x width), "
            f"but its image {str(image_path)!r} is {image[0]} x {image[1]}."
        )


def read_grey(path: Path) -> Image:
    """Read an image file of 8 bits as grey, uint8 (H, W); see `read_pixels`.

    Raises:
        DataError: the file is unreadable, damaged, of an unknown format, deeper than 8 bits, or
            holds more than one picture.
    """
    try:
        frames = read_pixels(path.read_bytes()).frames
    except (DmicError, OSError) as error:
        words = getattr(error, "strerror", None)
        raise DataError(f"Cannot read {str(path)!r}: {f'{words}.' if words else error}") from error
    if len(frames) > 1:
        raise DataError(
            f"{str(path)!r} holds {len(frames)} pictures; in a data set each file holds one. Save "
            "its pages as files of their own."
        )
    if frames.dtype != np.uint8:
        raise DataError(
            f"{str(path)!r} holds {frames.dtype} pixels; only 8-bit images are read. Convert it "
            f"to 8 bits first, with a grey-level window of your choice."
        )
    return np.asarray(frames[0], np.uint8)


def read_mask(path: Path) -> Mask:
    """Read a mask of 0 and 255, or of 0 and 1 in a lossless file; DataError for others."""
    grey = read_grey(path)
    top = int(grey.max())
    lossy = path.suffix.lower() in (".jpg", ".jpeg")
    if top > 127 or top == 0:
        return np.asarray(grey > 127, np.bool_)
    if top == 1 and not lossy:
        return np.asarray(grey == 1, np.bool_)
    raise DataError(
        f"Mask {str(path)!r} has grey values up to {top}; a mask holds 0 and 255"
        + (", and a JPEG cannot hold 0 and 1: save it as PNG." if lossy else ", or 0 and 1.")
    )


def check_folder(path: Path) -> None:
    """Raise DataError, with the nearest folder, unless `path` is a folder."""
    if path.is_dir():
        return
    if path.exists():
        raise DataError(f"{str(path)!r} is a file, not a folder; pass {str(path.parent)!r}.")
    parent = path.parent
    siblings = {p.name: p for p in parent.iterdir() if p.is_dir()} if parent.is_dir() else {}
    near = difflib.get_close_matches(path.name, siblings, n=1, cutoff=0.4)
    if near:
        raise DataError(f"No folder {str(path)!r}. Did you mean {str(siblings[near[0]])!r}?")
    there = next((p for p in path.parents if p.is_dir()), Path())
    raise DataError(f"No folder {str(path)!r}; the nearest folder that exists is {str(there)!r}.")


def is_mask(stem: str) -> bool:
    """Whether a file of that stem is a mask by its name, in any case: NAME_gt or NAME_mask."""
    return stem.lower().endswith(MASK_ENDINGS)


def _by_stem(folder: Path) -> dict[str, Path]:
    """The image files of a folder by stem; two files of one stem are an error."""
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in READABLE or file.name.startswith(".") or file.is_dir():
            continue
        if file.stem in found:
            raise DataError(
                f"{str(found[file.stem])!r} and {file.name!r} have the same stem; keep one."
            )
        found[file.stem] = file
    return found


def _by_image(masks: dict[str, Path], images: Collection[str]) -> dict[str, Path]:
    """Return the masks by the stems of their images; two masks of one image are an error."""
    found: dict[str, Path] = {}
    for name, path in masks.items():
        stem = name if name in images or not is_mask(name) else name[: name.rindex("_")]
        if other := found.get(stem):
            raise DataError(f"Two masks for {stem!r}: {str(other)!r}, {str(path)!r}; keep one.")
        found[stem] = path
    return found
