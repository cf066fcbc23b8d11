"""What a P frame costs in Low Delay P, in CPU time, beside a plain PyAV encode without QP maps.

    python -m benchmarks.measure.low_delay [--quick] [--json FILE]

Frames are a synthetic moving texture and, where DMIC_DATA is set, a sequence of DAVIS. All take
turns frame by frame, so that other load hits them alike; ``--json FILE`` writes the figures to
FILE and the table to FILE with suffix ``.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from dmic_gym.codecs.base import uniform_map
from dmic_gym.codecs.hevc.decoder import OpenDecoder
from dmic_gym.codecs.hevc.params import LOW_DELAY_P, x265_params
from dmic_gym.codecs.hevc.x265 import X265Codec
from dmic_gym.tasks.data.davis import Davis
from dmic_gym.types import Image, Images

from .common import Row, machine, markdown

CTU = 64
SHAPES = ((240, 416), (480, 854))
QPS = (22, 27, 32, 37, 42)
PRESETS = ("ultrafast", "medium")
SEQUENCE = "camel"

Coder = Callable[[Image, int], Any]
"""Codes the frame of that number and returns its access unit."""

Times = dict[str, list[float]]
Products = dict[str, list[Any]]


def synthetic(shape: tuple[int, int], count: int) -> Images:
    """A smooth random texture that moves by 1.5 and .75 pixels a frame, with sensor noise."""
    rng = np.random.default_rng(0)
    height, width = shape
    field = cv2.GaussianBlur(rng.normal(0, 1, (height + 64, width + 64)), (0, 0), 3)
    field = 128 + 40 * field / field.std()
    size = width, height
    moved = [
        cv2.warpAffine(field, np.array([[1, 0, -1.5 * t], [0, 1, -0.75 * t]]), size)
        for t in range(count)
    ]
    noisy = np.stack(moved) + rng.normal(0, 1.5, (count, *shape))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def sources(shape: tuple[int, int], count: int) -> Iterator[tuple[str, Images]]:
    yield "synthetic", synthetic(shape, count)
    if "DMIC_DATA" in os.environ:
        frames = Davis(Path(os.environ["DMIC_DATA"], "davis2016"), SEQUENCE, shape[0])
        yield SEQUENCE, np.stack([frames[t].image[:, : shape[1]] for t in range(count)])


def plain(shape: tuple[int, int], qp: int, preset: str) -> Coder:
    """PyAV alone: the anchor's string, no regions of interest, nothing decoded."""
    context: Any = av.VideoCodecContext.create("libx265", "w")
    context.height, context.width = shape
    context.pix_fmt, context.time_base = "gray", Fraction(1, 25)
    context.options = {"preset": preset, "x265-params": x265_params(qp, CTU, LOW_DELAY_P)}

    def encode(frame: Image, number: int) -> bytes:
        made = av.VideoFrame.from_ndarray(frame, format="gray")
        made.pts = number
        (packet,) = context.encode(made)
        return bytes(packet)

    return encode


def timed(coders: Mapping[str, Coder], frames: Images) -> tuple[Times, Products]:
    """Give each frame to each coder in turn; return CPU ms and what they made, by coder."""
    times: Times = {kind: [] for kind in coders}
    products: Products = {kind: [] for kind in coders}
    for number, frame in enumerate(frames):
        for kind, code in coders.items():
            begin = time.process_time()
            products[kind].append(code(frame, number))
            times[kind].append(1e3 * (time.process_time() - begin))
    return times, products


def row(name: str, frames: Images, preset: str, qp: int) -> Row:
    codec, shape = X265Codec(CTU, preset), frames.shape[1:]
    uniform = uniform_map(shape, CTU, qp)
    offsets = np.random.default_rng(qp).integers(-6, 7, (len(frames), *uniform.shape))
    maps = np.clip(qp + offsets, *codec.qp_range)
    with codec.video(shape, qp) as anchor, codec.video(shape, qp) as mapped:
        coders: dict[str, Coder] = {
            "plain": plain(shape, qp, preset),
            "stream": lambda frame, _: anchor.encode(frame, uniform).bitstream,
            "mapped": lambda frame, number: mapped.encode(frame, maps[number]).bitstream,
        }
        times, made = timed(coders, frames)
    decoder = OpenDecoder()
    spent, _ = timed({"decode": lambda _, number: decoder.decode(made["plain"][number])}, frames)
    ms = {kind: statistics.mean(taken[1:]) for kind, taken in (times | spent).items()}
    return {
        "frames": name,
        "size": f"{shape[1]}x{shape[0]}",
        "preset": preset,
        "QP": qp,
        "kbit": 0.008 * statistics.mean(map(len, made["plain"][1:])),
        "plain ms": ms["plain"],
        "decode ms": ms["decode"],
        "stream ms": ms["stream"],
        "stream / plain": ms["stream"] / ms["plain"],
        "stream / (plain + decode)": ms["stream"] / (ms["plain"] + ms["decode"]),
        "random map ms": ms["mapped"],
        "opening and I frame ms": times["stream"][0],
        "equal to plain": made["plain"] == made["stream"],
    }


def low_delay(shapes: Sequence[tuple[int, int]], qps: Sequence[int], p_frames: int) -> list[Row]:
    return [
        row(name, frames, preset, qp)
        for shape in shapes
        for name, frames in sources(shape, p_frames + 1)
        for preset in PRESETS
        for qp in qps
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="416x240 and three QPs only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results to FILE")
    given = parser.parse_args()
    begin = time.perf_counter()
    rows = low_delay(SHAPES[:1], QPS[::2], 2) if given.quick else low_delay(SHAPES, QPS, 3)
    took = round(time.perf_counter() - begin)
    text = f"# Low Delay P: CPU ms a P frame\n\nMade in {took} s.\n\n{markdown(rows)}\n"
    print(text)
    if given.json:
        results = {"seconds": took, "machine": machine(), "rows": rows}
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(results, indent=2) + "\n")
        given.json.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
