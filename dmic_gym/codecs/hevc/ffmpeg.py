"""The second codec: an ffmpeg process with libx265, driven by ffmpeg-python."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from dmic_gym.codecs.hevc.codec import HEVCCodec, Job
from dmic_gym.codecs.hevc.params import Overrides
from dmic_gym.codecs.hevc.regions import addroi_options
from dmic_gym.errors import EncodeError, MissingDependencyError, required

_MAX_ARGUMENT = 30_000
"""Filter chains longer than this many characters go through a file: Windows takes 32 KiB."""


def find_ffmpeg() -> str:
    """Return the ffmpeg program: the system's, else the one of the imageio-ffmpeg package.

    Raises:
        MissingDependencyError: there is neither.
    """
    if system := shutil.which("ffmpeg"):
        return system
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingDependencyError(
            "FFmpegCodec needs the ffmpeg program with libx265: install it with your system's "
            "package manager, or type: pip install 'dmic_gym[ffmpeg]'"
        ) from error
    return str(imageio_ffmpeg.get_ffmpeg_exe())


class FFmpegCodec(HEVCCodec):
    """HEVC intra coding by an ffmpeg process: same pictures as X265Codec, slower.

    Streams have the size and picture of X265Codec's wherever both builds of x265 decide alike;
    header bytes may differ between builds.

    Args:
        ctu_size: 64, 32 or 16.
        preset: x265's speed preset.
        x265_params: x265 settings that replace or extend ours.
        executable: the ffmpeg program; None finds it (see `find_ffmpeg`).
        timeout: seconds after which an ffmpeg process is killed.
        bit_depth: of the frames: 8, 10 or 12.
        chroma: whether to code 4:2:0 with mid-grey chroma in place of 4:0:0.

    Raises:
        InvalidInputError: an argument is none of the valid ones.
        MissingDependencyError: there is no ffmpeg, or no ffmpeg-python.
    """

    def __init__(
        self,
        ctu_size: int = 64,
        preset: str = "medium",
        x265_params: Overrides | None = None,
        executable: str | None = None,
        timeout: float = 60.0,
        *,
        bit_depth: int = 8,
        chroma: bool = False,
    ) -> None:
        super().__init__(ctu_size, preset, x265_params, bit_depth=bit_depth, chroma=chroma)
        _ffmpeg_python()
        self.executable = executable or find_ffmpeg()
        self.timeout = timeout

    @property
    def configuration(self) -> tuple[str, ...]:
        """All that decides what this codec makes of an image and a map, as a key for caches."""
        return *super().configuration, self.executable

    def _run(self, job: Job) -> bytes:
        chain = ",".join(
            "addroi=" + ":".join(f"{key}={value}" for key, value in addroi_options(region).items())
            for region in job.regions
        )
        with _filter_options(chain, self.executable) as filters:
            return self._call(self._command(job, filters), job)

    def _command(self, job: Job, filters: dict[str, str]) -> list[str]:
        height, width = job.picture.shape
        pix_fmt = job.sample_format.pix_fmt
        source = _ffmpeg_python().input(
            "pipe:", format="rawvideo", pix_fmt=pix_fmt, s=f"{width}x{height}"
        )
        options = {
            "format": "hevc",
            "vcodec": "libx265",
            "preset": self.preset,
            "x265-params": job.params,
            **({"bsf:v": job.crop} if job.crop else {}),
            **filters,
        }
        output = source.output("pipe:", **options).global_args("-hide_banner", "-loglevel", "error")
        command: list[str] = output.compile(self.executable)
        return command

    def _call(self, command: list[str], job: Job) -> bytes:
        raw = job.picture.tobytes() + job.chroma.tobytes()
        try:
            done = subprocess.run(command, input=raw, capture_output=True, timeout=self.timeout)
        except subprocess.TimeoutExpired as error:
            raise EncodeError(
                f"ffmpeg took more than {self.timeout} s for a {job.picture.shape} image: "
                "pass a larger timeout= or a faster preset=."
            ) from error
        except OSError as error:
            raise EncodeError(f"Could not start {self.executable!r}: {error}") from error
        if done.returncode != 0 or not done.stdout:
            words = done.stderr.decode(errors="replace").strip()
            raise EncodeError(f"ffmpeg failed with status {done.returncode}: {words}")
        return done.stdout


def _ffmpeg_python() -> ModuleType:
    return required("ffmpeg", "ffmpeg-python", "FFmpegCodec")


@contextmanager
def _filter_options(chain: str, executable: str) -> Iterator[dict[str, str]]:
    """Yield the output options that carry a filter chain: inline, or in a file if it is long."""
    if len(chain) <= _MAX_ARGUMENT:
        yield {"vf": chain} if chain else {}
        return
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "map.filters")
        script.write_text(chain)
        yield {_filter_file_option(executable): str(script)}


@functools.cache
def _filter_file_option(executable: str) -> str:
    """Return the option that reads a filter chain from a file: FFmpeg 7 brought a new one."""
    probe = [executable, "-filter_script:v", os.devnull, "-version"]
    old = subprocess.run(probe, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
    return "filter_script:v" if old else "/filter:v"
