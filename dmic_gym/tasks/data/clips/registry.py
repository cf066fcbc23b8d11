"""The one parser of "which clips": a name, a folder, a video file, or clips as they are."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from dmic_gym.errors import DmicError, InvalidInputError, unknown_name
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.clips.davis import DavisClips
from dmic_gym.tasks.data.clips.folder import ClipFolder, holds_clips_only
from dmic_gym.tasks.data.clips.phantoms import PhantomClips
from dmic_gym.tasks.data.clips.video import is_video
from dmic_gym.tasks.data.davis import is_davis
from dmic_gym.tasks.data.sequence import holds_clips
from dmic_gym.tasks.data.spec import check_options, named, parsed, selected

CLIPS: Mapping[str, Callable[..., Sequence[Clip]]] = {
    "davis-clips": DavisClips,
    "phantom-clips": PhantomClips,
}

ClipSpec: TypeAlias = str | os.PathLike[str] | Sequence[Clip]
"""What `dmic_gym.load_clips` takes."""

_DAVIS_OPTIONS = ("split", "size", "frames", "sequences", "select")
_SPLITS = ("train", "val", "test")
_OPTIONS = ("size", "frames", "start", "select")


def load_clips(spec: ClipSpec, **options: Any) -> Sequence[Clip]:
    """Make a data set of clips from what a user would type.

    Args:
        spec: one of

            - a name (`CLIPS`), such as ``"phantom-clips"`` or ``"davis-clips"``;
            - the path of a folder: with JPEGImages/ and Annotations/ in it (see
              `DavisClips`), with clips, or with the frames of one (see
              `ClipFolder`);
            - the path of a video file (see `read_video`);
            - any of them with options behind a question mark, as in
              ``"davis-clips?split=val&size=240&frames=20"`` or ``"run.mp4?start=5&frames=20"``;
              the grammar is that of `load_dataset`, ``select=START:STOP:STEP`` takes some clips;
            - a sequence of `Clip`.
        **options: the same options as keyword arguments.

    Raises:
        InvalidInputError: `spec` is none of these, an option does not belong to it, a variable is
            not set, or `select` takes nothing.
        DataError: the folder or file is missing or has no clips; on access, as the data sets say.
    """
    if isinstance(spec, str):
        spec, options = parsed(spec, options)
    take = options.pop("select", None)
    clips = _load(spec, options)
    return clips if take is None else selected(clips, take, spec)


def is_clips(spec: object) -> bool:
    """Whether `load_clips` and not `load_dataset` reads this.

    True for the names of `CLIPS`, a video file, a folder that holds no image but subfolders of
    frames or video files, and sequences of `Clip`. A folder of images, which may be one clip, one
    with train/ or test/ in it and one of DAVIS' layout count as images;
    ``davis-clips?root=FOLDER`` says that clips are meant. Nothing is read.
    """
    if not isinstance(spec, str | os.PathLike):
        return holds_clips(spec)
    try:
        name = parsed(spec, {})[0] if isinstance(spec, str) else os.fspath(spec)
        path = Path(name).expanduser()
        return name in CLIPS or is_video(path) or _is_folder_of_clips(path)
    except DmicError:
        return False


def _is_folder_of_clips(path: Path) -> bool:
    if not path.is_dir() or is_davis(path) or any((path / split).is_dir() for split in _SPLITS):
        return False
    return holds_clips_only(path)


def _load(spec: ClipSpec, options: dict[str, Any]) -> Sequence[Clip]:
    if isinstance(spec, str) and spec in CLIPS:
        return named(CLIPS, spec, options)
    if isinstance(spec, str | os.PathLike):
        return _path(os.fspath(spec), options)
    if holds_clips(spec):
        check_options("a data set that is an object", options, ())
        return spec
    hint = " Wrap it in a list: [clip]." if isinstance(spec, Clip) else ""
    raise InvalidInputError(
        f"Clips are a name ({', '.join(sorted(CLIPS))}), the path of a folder or video file, or a "
        f"sequence of Clip, got {type(spec).__name__}.{hint}"
    )


def _path(text: str, options: dict[str, Any]) -> Sequence[Clip]:
    bare = Path(text).name == text and not Path(text).exists()
    if not text or (bare and difflib.get_close_matches(text.lower(), CLIPS, n=1, cutoff=0.6)):
        raise unknown_name("clips, folder or video file", text, CLIPS)
    if is_davis(Path(text)):
        check_options(f"DAVIS folder {text!r}", options, _DAVIS_OPTIONS)
        return DavisClips(text, **options)
    check_options(f"clips of {text!r}", options, _OPTIONS)
    return ClipFolder(text, **options)
