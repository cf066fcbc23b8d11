"""Video files as clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dmic_gym.errors import DataError, DmicError
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.clips.assembly import Cut, assembled, in_order
from dmic_gym.tasks.data.folder import MASK_ENDINGS, check_same_size, read_mask
from dmic_gym.tasks.data.picture_files import READABLE
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.types import Image, Mask

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".ogv"),
    *(".wmv", ".flv", ".hevc", ".h265", ".265", ".h264", ".264", ".ivf", ".y4m"),
)
"""How files are named that are taken for videos in a folder."""


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def read_video(path: Path, cut: Cut) -> Clip:
    """Read a video file of any kind that FFmpeg decodes, as grey frames.

    Frames are luma of 0..255 (the range 16..235 of most videos is expanded, more than 8 bits are
    rounded to 8), turned upright where the file asks for it. Colour is not looked at.

    Beside the file may lie `NAME_gt.png` (or `NAME_mask.*`), the mask of its first frame, or a
    folder `NAME_gt/` with a mask for each frame of the file, ordered by name.

    Args:
        path: the file.
        cut: which frames to take.

    Raises:
        DataError: the file is no video or is damaged, a mask lacks or has another size, or the
            first frame, whose mask alone is there, is not among those taken.
    """
    masks = _masks(path)
    if len(masks) == 1 and cut.start > 0:
        raise DataError(
            f"{str(masks[0])!r} is the mask of frame 0, and the clip starts at frame {cut.start}. "
            f"Put a mask for each frame into a folder {path.stem}_gt/, or leave start out."
        )
    return assembled(_samples(path, masks), path.stem, cut, path)


def _samples(path: Path, masks: list[Path]) -> Iterator[Sample]:
    for number, frame in enumerate(_decoded(path)):
        if number >= len(masks) > 1:
            raise DataError(f"{str(masks[0].parent)!r} has no mask of frame {number} of the video.")
        mask = _mask_of(masks[number], path, frame) if number < len(masks) else None
        yield Sample(frame, mask, f"{path.stem}/{number:05}")


def _mask_of(mask_path: Path, path: Path, frame: Image) -> Mask:
    mask = read_mask(mask_path)
    check_same_size(path, frame.shape, mask_path, mask.shape)
    return mask


def _masks(path: Path) -> list[Path]:
    """Return the files of the masks that lie beside a video."""
    for ending in MASK_ENDINGS:
        place = path.with_name(path.stem + ending)
        if place.is_dir():
            return sorted((f for f in place.iterdir() if _is_image(f)), key=in_order)
        files = [place.with_name(place.name + suffix) for suffix in READABLE]
        if there := [file for file in files if file.is_file()]:
            return there[:1]
    return []


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in READABLE and not file.name.startswith(".")


def _decoded(path: Path) -> Iterator[Image]:
    """Yield the frames of the first video stream, upright, uint8 (H, W)."""
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{str(path)!r} holds no pictures, only {container.format.name}.")
            for frame in container.decode(video=0):
                if frame.is_corrupt:
                    raise DataError(f"{str(path)!r} is damaged: a frame is not whole.")
                grey = frame.to_ndarray(format="gray")
                yield np.ascontiguousarray(np.rot90(grey, frame.rotation // 90))
    except DmicError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(
            f"Cannot read {str(path)!r} as a video: {getattr(error, 'strerror', None) or error}."
        ) from error
