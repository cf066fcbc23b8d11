"""Folders of clips of a user's own."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from dmic_gym.errors import DataError
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.clips.assembly import Cut, assembled, checked_cut, in_order
from dmic_gym.tasks.data.clips.video import is_video, read_video
from dmic_gym.tasks.data.folder import ImageFolder, check_folder, is_mask
from dmic_gym.tasks.data.picture_files import READABLE
from dmic_gym.tasks.data.sequence import LazyClips

_LAYOUTS = (
    "a subfolder a clip with frames NAME.png (and NAME_gt.png beside all, the first or none of "
    "them), video files (with a first mask NAME_gt.png or masks in NAME_gt/), or the frames of "
    "one clip"
)


class ClipFolder(LazyClips):
    """Clips of a folder, or the one clip that a folder or a video file is.

    - A folder of clips: each subfolder with frames and each video file is one, in the order of
      their names. A folder with frames in it is one clip itself.
    - Frames are image files, paired with masks as `ImageFolder` does it and ordered by name,
      numbers in names by their value (2 before 10). All frames have a mask, or the first alone,
      or none.
    - Video files are read by `read_video`.

    Clips are named like their folders and files, without suffix, and read when asked for; nothing
    is cached.

    Args:
        path: the folder or the video file.
        size: height in pixels, 16 or more, to which higher frames are scaled down by area
            averaging, the width in proportion; an odd width loses its last column. None leaves
            frames as they are.
        frames: how many to take at most. None: all.
        start: index of the first frame.

    Raises:
        InvalidInputError: a number is out of its range.
        DataError: the path is missing or holds no clips, or two have one name; on access: a file
            is unreadable, frames of a clip differ in size, or only some of them have masks.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        size: int | None = None,
        frames: int | None = None,
        start: int = 0,
    ) -> None:
        self.path = Path(path).expanduser()
        self._cut = checked_cut(start, frames, size)
        if self.path.is_file():
            self._clips = {self.path.stem: self.path}
            return
        if self.path.suffix and not self.path.exists() and self.path.parent.is_dir():
            raise DataError(f"No file {str(self.path)!r}.{_near(self.path)}")
        check_folder(self.path)
        one = {self.path.resolve().name: self.path}
        self._clips = one if holds_frames(self.path) else _by_name(self.path)
        if not self._clips:
            raise DataError(f"No clips in {str(self.path)!r}. Looked for {_LAYOUTS}.")

    def __repr__(self) -> str:
        return f"ClipFolder({str(self.path)!r}, {self._cut})"

    def __len__(self) -> int:
        return len(self._clips)

    def _content(self) -> str:
        return f"clips in {self.path}"

    def _name(self, index: int) -> str:
        return list(self._clips)[index]

    def _read(self, index: int) -> Clip:
        name = self._name(index)
        path = self._clips[name]
        return _of_images(path, name, self._cut) if path.is_dir() else read_video(path, self._cut)


def holds_frames(folder: Path) -> bool:
    """Whether a folder is one clip: images lie in it, or in its subfolder images/."""
    return (folder / "images").is_dir() or any(_is_frame(file) for file in folder.iterdir())


def holds_clips_only(folder: Path) -> bool:
    """Whether a folder holds clips, in subfolders or as video files, and no images of its own."""
    return not holds_frames(folder) and bool(_by_name(folder))


def _near(path: Path) -> str:
    there = [file.name for file in path.parent.iterdir()]
    near = difflib.get_close_matches(path.name, there, n=1, cutoff=0.4)
    return f" Did you mean {str(path.with_name(near[0]))!r}?" if near else ""


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not (is_video(path) or _is_clip(path)):
            continue
        name = path.name if path.is_dir() else path.stem
        if name in found:
            raise DataError(
                f"{str(found[name])!r} and {path.name!r} would both be clip {name!r}; keep one."
            )
        found[name] = path
    return found


def _is_clip(path: Path) -> bool:
    return path.is_dir() and not is_mask(path.name) and holds_frames(path)


def _is_frame(file: Path) -> bool:
    hidden = file.name.startswith(".")
    return file.suffix.lower() in READABLE and not hidden and not is_mask(file.stem)


def _of_images(folder: Path, name: str, cut: Cut) -> Clip:
    images = ImageFolder(folder)
    names = images.names
    order = sorted(range(len(images)), key=lambda place: in_order(names[place]))
    return assembled((images[place] for place in order), name, cut, folder)
