"""(e) Cost against image size and CTU size."""

from __future__ import annotations

from math import log

import numpy as np

from dmic_gym.codecs.base import map_shape
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.tasks.threads import one_torch_thread
from measure.common import BASE_QP, Row, Scale, interleave, median, network, random_actions, samples


def sizes(scale: Scale) -> tuple[list[Row], list[Row]]:
    """Return the table of times and that of growth between sizes."""
    with one_torch_thread():
        rows = [_row(scale, side, ctu_size) for ctu_size in (64, 32, 16) for side in scale.sides]
    return rows, [_growth(rows, ctu_size) for ctu_size in (64, 32, 16)]


def _row(scale: Scale, side: int, ctu_size: int) -> Row:
    data, segmenter = samples(1, side), network()
    env = CodingEnv(
        dataset=data,
        segmenter=segmenter,
        ctu_size=ctu_size,
        base_qps=(BASE_QP,),
        reward="linear",
        preset="ultrafast",
    )
    ctus = int(np.prod(map_shape((side, side), ctu_size)))
    actions = random_actions(ctus, 1)[:, 0].tolist()

    def episode() -> None:
        env.reset(options={"sample": 0})
        for action in actions:
            env.step(action)

    episode()
    image, qp_map = data[0].image, env.qp_map
    times = interleave(
        {
            "episode": episode,
            "codec": lambda: env.evaluator.codec.encode([image], [qp_map])[0],
            "segment": lambda: segmenter(image[np.newaxis]),
        },
        2 if side > 1024 else max(2, scale.rounds // 2),
    )
    env.close()
    milliseconds = {name: 1e3 * median(taken) for name, taken in times.items()}
    floor = milliseconds["codec"] + milliseconds["segment"]
    return {
        "CTU": ctu_size,
        "side": side,
        "steps": ctus,
        "episode ms": milliseconds["episode"],
        "encode + decode ms": milliseconds["codec"],
        "segment ms": milliseconds["segment"],
        "over floor ms": milliseconds["episode"] - floor,
        "episode ms a megapixel": milliseconds["episode"] / (side * side / 1e6),
    }


def _growth(rows: list[Row], ctu_size: int) -> Row:
    """Exponents of the times in the number of pixels, least squares over the sizes from 256."""
    chosen = [row for row in rows if row["CTU"] == ctu_size and row["side"] >= 256] or rows
    if len(chosen) < 2:
        chosen = [row for row in rows if row["CTU"] == ctu_size]
    pixels = [log(row["side"] ** 2) for row in chosen]
    names = ("episode ms", "encode + decode ms", "segment ms")
    exponents = {
        name.removesuffix(" ms"): float(np.polyfit(pixels, [log(r[name]) for r in chosen], 1)[0])
        for name in names
    }
    return {"CTU": ctu_size, "sides": f"{chosen[0]['side']}..{chosen[-1]['side']}", **exponents}
