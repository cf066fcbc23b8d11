"""(b) Against the obvious implementation: ffmpeg processes and a plain float32 network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ffmpeg
import numpy as np
import numpy.typing as npt
import torch

from dmic_gym.codecs.hevc.decoder import decode_stream
from dmic_gym.codecs.hevc.ffmpeg import find_ffmpeg
from dmic_gym.codecs.hevc.params import slice_qp, x265_params
from dmic_gym.codecs.hevc.regions import addroi_options, regions_of_interest
from dmic_gym.envs.parallel import default_workers, start_pool
from dmic_gym.envs.vector_env import CodingVectorEnv
from dmic_gym.tasks.segmenters.architectures import build
from dmic_gym.tasks.threads import one_torch_thread
from measure.common import (
    BASE_QP,
    Row,
    Scale,
    interleave,
    median,
    network,
    random_actions,
    ratio,
    samples,
)
from measure.floor import CTUS

Image = npt.NDArray[np.uint8]
QPMap = npt.NDArray[np.int16]
PRESET = "ultrafast"


class Obvious:
    """What one writes first: ffmpeg-python for each encode, the network as it was trained."""

    def __init__(self) -> None:
        self.network = build("unet").eval()
        self.program = find_ffmpeg()

    def encode(self, image: Image, qp_map: QPMap) -> bytes:
        height, width = image.shape
        base_qp = slice_qp(qp_map)
        stream = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="gray", s=f"{width}x{height}")
        for region in regions_of_interest(qp_map, base_qp, image.shape, 64):
            stream = stream.filter("addroi", **addroi_options(region))
        settings = {
            "format": "hevc",
            "vcodec": "libx265",
            "preset": PRESET,
            "x265-params": x265_params(base_qp, 64),
        }
        output = stream.output("pipe:", loglevel="error", **settings)
        out, _ = output.run(cmd=self.program, input=image.tobytes(), capture_stdout=True)
        return bytes(out)

    def decode(self, bitstream: bytes, shape: tuple[int, int]) -> Image:
        source = ffmpeg.input("pipe:", format="hevc")
        output = source.output("pipe:", format="rawvideo", pix_fmt="gray", loglevel="error")
        out, _ = output.run(cmd=self.program, input=bitstream, capture_stdout=True)
        return np.frombuffer(out, np.uint8).reshape(shape)

    def segment(self, image: Image) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            logits = self.network(torch.tensor(image)[None, None].float() / 255.0)
        probability: npt.NDArray[np.float32] = torch.sigmoid(logits)[0, 0].numpy()
        return probability

    def episode(self, image: Image, qp_map: QPMap) -> npt.NDArray[np.float32]:
        return self.segment(decode_stream(self.encode(image, qp_map)).frames[0])


def alone(call: Callable[[], Any]) -> Callable[[], None]:
    """The call with one torch thread: what a part costs a core."""

    def run() -> None:
        with one_torch_thread():
            call()

    return run


def against_obvious(scale: Scale) -> list[Row]:
    """Images a second, and the parts of both."""
    count = scale.images
    data, segmenter, obvious = samples(count), network(), Obvious()
    env = CodingVectorEnv(count, dataset=data, segmenter=segmenter, preset=PRESET)
    actions = random_actions(CTUS, count)

    def ours() -> None:
        env.reset(options={"sample": list(range(count)), "base_qp": BASE_QP})
        for chosen in actions:
            env.step(chosen)

    ours()
    jobs = [(data[n].image, one.qp_map) for n, one in enumerate(env.results) if one is not None]
    streams = [obvious.encode(*job) for job in jobs]
    workers = default_workers()
    pool = start_pool(workers)
    times = interleave(
        {
            "ours": ours,
            "at once": lambda: list(pool.map(lambda job: obvious.episode(*job), jobs)),
            "obvious": lambda: [obvious.episode(*job) for job in jobs],
            "ffmpeg encode": lambda: [obvious.encode(*job) for job in jobs],
            "ffmpeg decode": lambda: [obvious.decode(s, data[0].image.shape) for s in streams],
            "float32": alone(lambda: [obvious.segment(image) for image, _ in jobs]),
            "codec": lambda: [env.evaluator.codec.encode([image], [qps]) for image, qps in jobs],
            "our network": alone(lambda: [segmenter(image[np.newaxis]) for image, _ in jobs]),
        },
        max(2, scale.rounds // 2),
    )
    env.close()
    pool.shutdown()
    names = {
        "ours": f"CodingVectorEnv of {count}, {workers} threads",
        "at once": f"obvious: ffmpeg process, float32, {workers} at once",
        "obvious": "obvious, one at a time, torch's own threads",
        "ffmpeg encode": "part, one core: encode, ffmpeg process",
        "ffmpeg decode": "part, one core: decode, ffmpeg process (obvious rows decode in-process)",
        "float32": "part, one core: float32 network as trained",
        "codec": "part, one core: encode + decode, X265Codec",
        "our network": "part, one core: our network",
    }
    return [
        {
            "form": names[key],
            "ms an image": 1e3 * median(taken) / count,
            "times ours": ratio(taken, times["ours"]),
        }
        for key, taken in times.items()
    ]
