"""(f) Where the time of an A2C training loop goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from stable_baselines3 import A2C

import dmic_gym
from measure.common import BASE_QP, Row, Scale, network, samples, seconds


class Stopwatch:
    """Adds up the time spent in methods."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def watch(self, owner: Any, method: str, name: str) -> None:
        reference: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return reference(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - begin

        setattr(owner, method, timed)


def training(scale: Scale) -> list[Row]:
    """Shares of the wall time of `learn`, anchors cached."""
    count = scale.envs
    vec = dmic_gym.make_sb3_vec(
        count,
        dataset=samples(2),
        segmenter=network(),
        base_qps=(BASE_QP,),
        preset="ultrafast",
        seed=0,
    )
    model = A2C("MultiInputPolicy", vec, n_steps=25, seed=0)
    model.learn(2 * 25 * count)
    watch = Stopwatch()
    watch.watch(vec, "step_wait", "environment")
    watch.watch(vec.env.evaluator, "score_all", "encode, decode, segment")
    watch.watch(model.policy, "forward", "policy: actions")
    watch.watch(model, "train", "policy: update")
    total = seconds(lambda: model.learn(scale.learn_steps * count, reset_num_timesteps=False))
    vec.close()
    parts = dict(watch.seconds)
    scoring = parts.pop("encode, decode, segment")
    rest = total - sum(parts.values())
    shown = {
        "encode, decode, segment": scoring,
        "environment beside that": parts["environment"] - scoring,
        "policy: actions": parts["policy: actions"],
        "policy: update": parts["policy: update"],
        "rest of the loop": rest,
        "all": total,
    }
    steps = scale.learn_steps * count
    return [
        {"part": name, "share": spent / total, "ms a step": 1e3 * spent / steps}
        for name, spent in shown.items()
    ]
