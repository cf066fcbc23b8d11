"""DCA1, the database of X-ray coronary angiograms."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

from dmic_gym.errors import DataError, unknown_name
from dmic_gym.tasks.data.folder import check_folder, read_sample
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.sequence import LazySamples

URL = "http://personal.cimat.mx:8181/~ivan.cruz/DB_Angiograms_files/DB_Angiograms_134.zip"
SHA256 = "7161638a6e92c6a6e47a747db039292c8a1a6bad809aac0d1fd16a10a6f22a11"
ARCHIVE = "DB_Angiograms_134.zip"
COUNT = 134
TRAIN_COUNT = 100
SPLITS = ("train", "test", "all")

_FOLDER = "DB_Angiograms_134"
_FILE = re.compile(r"(\d+)(_gt)?\.pgm")


class DCA1(LazySamples):
    """A lazy sequence of the 134 X-ray coronary angiograms of DCA1 with their vessel masks.

    Images are 300x300; `N.pgm` and its mask `N_gt.pgm` make the sample named `"N"`, in the order
    of the numbers. Source: Cervantes-Sanchez, Cruz-Aceves, Hernandez-Aguirre, Hernandez-Gonzalez,
    Solorio-Meza, "Automatic Segmentation of Coronary Arteries in X-ray Angiograms using
    Multiscale Analysis and Artificial Neural Networks", Applied Sciences 9(24), 5507 (2019),
    doi:10.3390/app9245507; cite it where you use the images.

    The authors publish no list of the split (their paper has 130 images, 100 of them for
    training). Here the first 100 by number are the training split and the last 34 the test split,
    as in the public code of FR-UNet (Liu et al., 2022) and torch-em; results in the literature
    may rest on another split.

    Args:
        root: where the images are, directly or up to two folders below, or are to be put; default
            `pooch.os_cache("dmic_gym")`. A DB_Angiograms_134.zip placed there by hand is checked
            and unpacked.
        split: "train", "test" or "all".
        download: fetch the archive if the images are not there. It comes by plain HTTP and is
            refused unless its SHA-256 is the known one. Without it no network is used.

    Raises:
        InvalidInputError: unknown split.
        DataError: the images are missing or incomplete, or the download failed; the message says
            how to place the file by hand. On access: a file is unreadable.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        split: str = "train",
        download: bool = False,
    ) -> None:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        self.split = split
        self.path = prepare(default_root() if root is None else Path(root), download)
        numbers = _complete(self.path)
        self._numbers = {
            "train": numbers[:TRAIN_COUNT],
            "test": numbers[TRAIN_COUNT:],
            "all": numbers,
        }[split]

    def __repr__(self) -> str:
        return f"DCA1({str(self.path)!r}, split={self.split!r})"

    def __len__(self) -> int:
        return len(self._numbers)

    def _content(self) -> str:
        return f"images of DCA1's split {self.split!r}"

    def _read(self, index: int) -> Sample:
        name = self._name(index)
        return read_sample(self.path / f"{name}.pgm", self.path / f"{name}_gt.pgm", name)

    def _name(self, index: int) -> str:
        return str(self._numbers[index])


def default_root() -> Path:
    """Return the user's cache folder, where DCA1 is kept unless told otherwise."""
    import pooch

    return Path(pooch.os_cache("dmic_gym"))


def prepare(root: Path, download: bool, url: str = URL, sha256: str = SHA256) -> Path:
    """Return the folder that holds the images, unpacking or downloading the archive if need be.

    Raises:
        DataError: there are no images and no archive, or the archive is not the known one.
    """
    root = root.expanduser()
    if root.is_file():
        check_folder(root)
    found = _find(root)
    if found is not None:
        return found
    archive = root / ARCHIVE
    if download:
        _download(archive, url, sha256)
    elif archive.is_file():
        _check_hash(archive, sha256)
    else:
        raise DataError(
            f"No DCA1 images (N.pgm with N_gt.pgm) in {str(root)!r}. Pass download=True, or "
            f"{_by_hand(archive, url)}"
        )
    return _unpack(archive, root / _FOLDER)


def _find(root: Path) -> Path | None:
    for pattern in ("", "*/", "*/*/"):
        for mask in sorted(root.glob(f"{pattern}*_gt.pgm")):
            hidden = any(part.startswith(".") for part in mask.relative_to(root).parts)
            if _FILE.fullmatch(mask.name) and not hidden:
                return mask.parent
    return None


def _by_hand(archive: Path, url: str) -> str:
    return f"get {url} by other means and place it as {str(archive)!r}."


def _download(archive: Path, url: str, sha256: str) -> None:
    import pooch

    try:
        pooch.retrieve(url, known_hash=f"sha256:{sha256}", fname=archive.name, path=archive.parent)
    except ValueError as error:
        raise DataError(
            f"{url} is not the archive of DCA1 and was not kept: {error} Try again, or "
            f"{_by_hand(archive, url)}"
        ) from error
    except OSError as error:
        raise DataError(
            f"Could not download DCA1: {error}. Try again, or {_by_hand(archive, url)}"
        ) from error


def _check_hash(archive: Path, sha256: str) -> None:
    import pooch

    found = pooch.file_hash(str(archive), alg="sha256")
    if found != sha256:
        raise DataError(
            f"{str(archive)!r} is not the archive of DCA1: its SHA-256 is {found}, not {sha256}. "
            "Replace it, or pass download=True."
        )


def _unpack(archive: Path, folder: Path) -> Path:
    """Unpack the images, whatever folder of the archive they are in, all or none."""
    try:
        with tempfile.TemporaryDirectory(prefix=".dca1-", dir=archive.parent) as scratch:
            _extract(archive, Path(scratch))
            _complete(Path(scratch))
            _publish(Path(scratch), folder)
    except DataError:
        raise
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"Cannot unpack {str(archive)!r}: {error}.") from error
    return folder


def _extract(archive: Path, folder: Path) -> None:
    """Write the members named like images into `folder`; their own paths are not followed."""
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            name = member.filename.replace("\\", "/").rsplit("/", 1)[-1]
            if _FILE.fullmatch(name):
                with opened.open(member) as source, (folder / name).open("xb") as target:
                    shutil.copyfileobj(source, target)


def _publish(scratch: Path, folder: Path) -> None:
    """Move what was unpacked to its place, unless another process was faster."""
    fresh = scratch / folder.name
    fresh.mkdir()
    for file in scratch.glob("*.pgm"):
        file.rename(fresh / file.name)
    try:
        fresh.rename(folder)
    except OSError:
        if _find(folder) is None:
            raise


def _complete(folder: Path) -> list[int]:
    """Return the sorted numbers of the images; an incomplete set is an error."""
    names = {file.name for file in folder.iterdir() if _FILE.fullmatch(file.name)}
    numbers = sorted({int(name.split(".")[0].split("_")[0]) for name in names})
    lost = [f"{n}{end}" for n in numbers for end in (".pgm", "_gt.pgm") if f"{n}{end}" not in names]
    if lost:
        raise DataError(f"{str(folder)!r} lacks {', '.join(lost)} ({len(lost)} files of DCA1).")
    if len(numbers) != COUNT:
        raise DataError(
            f"{str(folder)!r} holds {len(numbers)} of DCA1's {COUNT} images, so that its splits "
            "are not known. Delete it and pass download=True, or use the folder as it is: "
            f"load_dataset({str(folder)!r})."
        )
    return numbers
