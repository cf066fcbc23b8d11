"""Which files to read and which to write, so that no original is ever lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from dmic_gym.deploy.dicom_file import is_dicom
from dmic_gym.deploy.pictures import READABLE, WRITABLE
from dmic_gym.errors import DataError, InvalidInputError, unknown_name
from dmic_gym.tasks.data.folder import is_mask

DICOM = ".dcm"
CODED_FORMATS = {".hevc": "hevc", ".265": "hevc", ".mp4": "mp4", DICOM: "main"}
"""What `encode` calls the content of a file with that suffix."""

FileId = tuple[int, int]
"""Device and inode: the same for all names of a file, links included."""


@dataclass(frozen=True)
class Job:
    """A file to read and one to write.

    Attributes:
        source: to read.
        target: to write.
        overwrite: whether a target that exists is replaced.
        originals: all files of the folder that is read; none of them is ever written.
    """

    source: Path
    target: Path
    overwrite: bool = False
    originals: frozenset[FileId] = frozenset()

    def claim(self, target: Path) -> None:
        """Raise InvalidInputError where a file to be written exists or is an original."""
        if _id(target) in {*self.originals, _id(self.source)} - {None}:
            raise InvalidInputError(
                f"{str(target)!r} is an original, under this or another name, and would be "
                "replaced by a lossy copy: choose another name for the output."
            )
        if not self.overwrite and (target.exists() or target.is_symlink()):
            raise InvalidInputError(f"{str(target)!r} exists. To replace it type: --overwrite")


@dataclass(frozen=True)
class Jobs:
    """The work of a run.

    Attributes:
        jobs: in the order of the work.
        in_folder: whether they are what a folder holds.
        left_out: how many things in the folder are not worked on, by kind.
    """

    jobs: list[Job]
    in_folder: bool
    left_out: Counter[str]


def encoding_jobs(source: Path, target: Path, suffix: str, *, overwrite: bool = False) -> Jobs:
    """Return what there is to encode: the file, or the pictures of a folder but no masks.

    Args:
        source: a file, or a folder (not those in it).
        target: the file or folder to write.
        suffix: of the files written into a folder.
        overwrite: whether files that exist are replaced.

    Raises:
        DataError: there is no picture in the folder, or it cannot be made.
        InvalidInputError: a suffix names no format, two files would get one name, or an original
            would be replaced.
    """

    def kind(path: Path) -> str:
        if is_mask(path.stem):
            return "masks (*_gt, *_mask)"
        return "" if _suffix(path) in READABLE or names_dicom(path) else _kind(path)

    what = "pictures (" + ", ".join((*READABLE, DICOM)) + ")"
    return _jobs(source, target, suffix, CODED_FORMATS, kind, what, overwrite)


def decoding_jobs(source: Path, target: Path, suffix: str, *, overwrite: bool = False) -> Jobs:
    """Return what there is to decode; see `encoding_jobs`."""

    def kind(path: Path) -> str:
        return "" if _suffix(path) in CODED_FORMATS else _kind(path)

    return _jobs(
        source, target, suffix, (*WRITABLE, DICOM), kind, ".hevc, .mp4 or .dcm files", overwrite
    )


def names_dicom(path: Path) -> bool:
    """Whether a file is meant to be DICOM, by its suffix or its first bytes."""
    return _suffix(path) == DICOM or is_dicom(path)


def _jobs(
    source: Path,
    target: Path,
    suffix: str,
    formats: Collection[str],
    kind: Callable[[Path], str],
    what: str,
    overwrite: bool,
) -> Jobs:
    if not source.is_dir():
        if target.is_dir():
            raise InvalidInputError(
                f"{str(target)!r} is a folder: name the file to write, such as "
                f"{str(target / source.stem) + suffix!r}."
            )
        _check_suffix(target.suffix, formats)
        job = Job(source, target, overwrite)
        job.claim(target)
        return Jobs([job], False, Counter())
    _check_suffix(suffix, formats)
    _check_folders(source, target, formats)
    kinds = {path: kind(path) for path in _content(source)}
    found = [path for path, word in kinds.items() if not word]
    if not found:
        raise DataError(f"No {what} in {str(source)!r}{_listed(Counter(kinds.values()))}.")
    originals = frozenset(each for each in map(_id, kinds) if each)
    jobs = [Job(path, target / f"{path.stem}{suffix}", overwrite, originals) for path in found]
    _check_targets(jobs)
    make_folder(target)
    return Jobs(jobs, True, Counter(word for word in kinds.values() if word))


def _check_folders(source: Path, target: Path, formats: Collection[str]) -> None:
    if _suffix(target) in {*CODED_FORMATS, *formats} and not target.is_dir():
        raise InvalidInputError(
            f"{str(target)!r} names a file, and {str(source)!r} is a folder: name a folder to "
            f"write, and the format by --to {target.suffix.lstrip('.')}."
        )
    here, there = source.resolve(), target.resolve()
    if there == here or there in here.parents:
        raise InvalidInputError(
            f"{str(target)!r} is or contains the folder of the originals: write to a folder of "
            f"its own, such as {str(source / 'coded')!r}."
        )


def _check_targets(jobs: list[Job]) -> None:
    """Raise InvalidInputError where two jobs would write one file, or one an original."""
    seen = dict[Path, Job]()
    for job in jobs:
        if other := seen.get(job.target):
            raise InvalidInputError(
                f"{other.source.name!r} and {job.source.name!r} would both become "
                f"{job.target.name!r}: rename one."
            )
        seen[job.target] = job
        if _id(job.target) in job.originals:
            job.claim(job.target)


def make_folder(target: Path) -> None:
    """Make a folder and those above it; raise DataError where that cannot be."""
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"Cannot make {str(target)!r}: {error.strerror or error}.") from error


def _listed(kinds: Counter[str]) -> str:
    words = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f", but {words}" if words else ""


def _content(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))


def _kind(path: Path) -> str:
    if path.is_dir():
        return "folders"
    return f"{_suffix(path)} files" if path.suffix else "files without suffix"


def _id(path: Path) -> FileId | None:
    """Return what tells whether two names, links followed, are of one file; None if there is none.

    A name that cannot be looked at is none of the originals, which have been read.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _check_suffix(suffix: str, known: Collection[str]) -> None:
    if suffix.lower() not in known:
        raise unknown_name("format to write", suffix, known)
