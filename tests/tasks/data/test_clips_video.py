"""Video files as clips, against what OpenCV reads in them."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from dmic_gym.errors import DataError, InvalidInputError
from dmic_gym.tasks.data import load_clips
from dmic_gym.tasks.data.clips.registry import is_clips
from dmic_gym.types import Images

SHAPE = (48, 64)


def scene(count: int = 6) -> Images:
    """A square that moves over a ramp of all grey levels."""
    frames = np.tile(np.linspace(0, 255, SHAPE[1]).round().astype(np.uint8), (count, SHAPE[0], 1))
    for n in range(count):
        frames[n, 10:20, 4 + 3 * n : 14 + 3 * n] = 40 * n
    return frames


def write(path: Path, codec: str, pixels: str, frames: Images, **options: str) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *SHAPE, pixels
        stream.options = options
        for frame in frames:
            colour = av.VideoFrame.from_ndarray(np.stack([frame] * 3, -1), format="rgb24")
            container.mux(stream.encode(colour.reformat(format=pixels)))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Six frames, coded without loss."""
    return write(tmp_path / "run.avi", "ffv1", "gray", scene())


def opencv(path: Path) -> Images:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (found := capture.read())[0]:
        frames.append(cv2.cvtColor(found[1], cv2.COLOR_BGR2GRAY))
    return np.asarray(np.stack(frames), np.uint8)


def test_what_was_coded_without_loss_comes_back(video: Path) -> None:
    clips = load_clips(video)
    (clip,) = pickle.loads(pickle.dumps(clips))
    assert (clip.name, clip.masks, clip.first_mask) == ("run", None, None)
    assert np.array_equal(clip.frames, scene())
    assert is_clips(video)


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("a.mp4", "libx264", "yuv420p", {"crf": "10"}),
        ("b.mkv", "libx265", "gray", {"crf": "10", "x265-params": "log-level=none"}),
        ("c.hevc", "libx265", "yuv420p", {"crf": "10", "x265-params": "log-level=none"}),
        ("d.webm", "libvpx-vp9", "yuv420p", {"crf": "10"}),
        ("e.avi", "mjpeg", "yuvj420p", {"qmin": "1", "qmax": "1"}),
        ("f.mov", "libx264", "yuv420p10le", {"crf": "10"}),
    ],
)
def test_usual_kinds_are_grey_as_opencv_shows_them(
    name: str, codec: str, pixels: str, options: dict[str, str], tmp_path: Path
) -> None:
    path = write(tmp_path / name, codec, pixels, scene(), **options)
    (clip,) = load_clips(str(path))
    assert clip.frames.shape == (6, *SHAPE)
    assert np.abs(clip.frames.astype(int) - opencv(path)).max() <= 4
    assert np.abs(clip.frames.astype(int) - scene()).mean() < 4  # all of 0..255, not 16..235


def test_options_cut_and_scale(video: Path) -> None:
    (clip,) = load_clips(f"{video}?start=2&frames=3&size=24")
    assert clip.frames.shape == (3, 24, 32)
    means = scene()[2:5].reshape(3, 24, 2, 32, 2).mean(axis=(2, 4))
    assert np.abs(clip.frames - means).max() <= 0.5
    (late,) = load_clips(video, start=4, frames=9)
    assert np.array_equal(late.frames, scene()[4:])
    with pytest.raises(DataError, match=r"no frame 6: start= counts from 0"):
        load_clips(video, start=6)[0]
    with pytest.raises(InvalidInputError, match="Did you mean 'frames'"):
        load_clips(f"{video}?frame=3")
    with pytest.raises(InvalidInputError, match="frames must be 1 or more"):
        load_clips(video, frames=0)


def masks_of(frames: Images) -> Images:
    return np.where(frames > 99, 255, 0).astype(np.uint8)


def test_a_first_mask_lies_beside_the_file(video: Path) -> None:
    cv2.imwrite(str(video.with_name("run_gt.png")), masks_of(scene())[0])
    (clip,) = load_clips(video)
    assert clip.masks is None
    assert clip.first_mask is not None
    assert np.array_equal(clip.first_mask, scene()[0] > 99)
    with pytest.raises(DataError, match=r"mask of frame 0.*starts at frame 1.*run_gt/"):
        load_clips(video, start=1)[0]
    cv2.imwrite(str(video.with_name("run_gt.png")), masks_of(scene())[0, :9])
    with pytest.raises(DataError, match=r"run_gt.png' is 9 x 64.*run.avi' is 48 x 64"):
        load_clips(video)[0]


def test_masks_of_all_frames_lie_in_a_folder(video: Path) -> None:
    folder = video.with_name("run_gt")
    folder.mkdir()
    for n, mask in enumerate(masks_of(scene())):
        cv2.imwrite(str(folder / f"{n + 7}.png"), mask)  # 7.png .. 12.png
    (clip,) = load_clips(video, start=1, frames=4)
    assert clip.masks is not None
    assert np.array_equal(clip.masks, scene()[1:5] > 99)
    assert [found.name for found in load_clips(video.parent)] == ["run"]
    (folder / "12.png").unlink()
    with pytest.raises(DataError, match="no mask of frame 5 of the video"):
        load_clips(video)[0]


def test_a_turned_video_is_shown_upright(tmp_path: Path) -> None:
    path = write(tmp_path / "phone.mp4", "libx264", "yuv420p", scene(2), crf="10")
    data = path.read_bytes()
    place = data.index(b"tkhd") + 4 + 40  # the matrix of ISO/IEC 14496-12, 8.3.2, version 0
    turn = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    assert struct.unpack(">9i", data[place : place + 36])[0] == 1 << 16
    path.write_bytes(data[:place] + turn + data[place + 36 :])
    (clip,) = load_clips(path)
    upright = opencv(path)
    assert clip.shape == upright.shape[1:] == (64, 48)
    assert np.abs(clip.frames.astype(int) - upright).max() <= 4


def test_what_is_no_video_says_so(video: Path) -> None:
    place = video.parent
    (place / "text.mp4").write_text("Not a video.\n" * 50)
    with pytest.raises(DataError, match=r"Cannot read .*text\.mp4' as a video: Invalid data"):
        load_clips(place / "text.mp4")[0]
    with wave.open(str(place / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(800))
    with pytest.raises(DataError, match="holds no pictures, only wav"):
        load_clips(place / "sound.wav")[0]
    with pytest.raises(DataError, match=r"No file .*runn\.avi'. Did you mean .*run\.avi'"):
        load_clips(place / "runn.avi")


def test_a_cut_file_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "run.mp4", "libx264", "yuv420p", scene(), crf="10")
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match=r"Cannot read .*run\.mp4'"):
        load_clips(path)[0]


def test_clips_are_named_without_the_video_library() -> None:
    code = (
        "import sys, dmic_gym; dmic_gym.load_clips('phantom-clips').names; dmic_gym.Clip;"
        "print({'av', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "set()"
