"""(g) What a policy's decisions cost, over the encode that they steer."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from dmic_gym.agents.policy.trunk import DMICPolicy
from dmic_gym.agents.stepping import PredictStepper, Stepper, stepper_of
from dmic_gym.codecs.base import uniform_map
from dmic_gym.codecs.hevc.x265 import X265Codec
from dmic_gym.envs.image_view import ImageView
from dmic_gym.envs.observations import ObservationBuilder, observation_space
from dmic_gym.envs.results import Reference, sample_key
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS
from dmic_gym.tasks.threads import one_torch_thread
from measure.common import BASE_QP, Row, Scale, median, network, ratio, samples

SIDE = 512


def policy(scale: Scale) -> list[Row]:
    """CPU seconds of one thread, in turns: encode, and a policy by its stepper and by predict.

    The weights are random, which costs what trained ones do. The stepper looks at the picture anew
    each time, as for the first of several base QPs.
    """
    sample = samples(1, SIDE)[0]
    reference = Reference(sample, sample_key(sample), network()(sample.image[np.newaxis])[0])
    with one_torch_thread():
        return [row for ctu_size in (64, 32, 16) for row in _rows(reference, ctu_size, scale)]


def _rows(reference: Reference, ctu_size: int, scale: Scale) -> list[Row]:
    image, codec = reference.sample.image, X265Codec(ctu_size, "medium")
    torch.manual_seed(0)
    made = DMICPolicy(observation_space(), spaces.Discrete(len(DEFAULT_QP_OFFSETS)), lambda _: 0.0)
    flat, shown = uniform_map(image.shape, ctu_size, BASE_QP), ImageView(reference, ctu_size)
    again = ImageView(reference, ctu_size)
    stepper_of(made).action(_begun(again))
    calls: dict[str, Callable[[], Any]] = {
        "encode": lambda: codec.encode([image], [flat]),
        "observations alone": lambda: _decide(shown, None),
        "policy, first base QP": lambda: _decide(copy(shown), stepper_of(made)),
        "policy, other base QPs": lambda: _decide(again, stepper_of(made)),
        "predict": lambda: _decide(shown, PredictStepper(made)),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(scale.rounds):
        for name, call in calls.items():
            if name != "predict" or turn < 2:
                times[name].append(_cpu_seconds(call))
    codec.close()
    return [
        {
            "CTU": ctu_size,
            "part": name,
            "CPU ms": 1e3 * median(taken),
            "over encode": ratio(taken, times["encode"][: len(taken)]),
        }
        for name, taken in times.items()
    ]


def _begun(view: ImageView) -> ObservationBuilder:
    builder = ObservationBuilder()
    builder.begin(view, BASE_QP)
    return builder


def _decide(view: ImageView, stepper: Stepper | None) -> None:
    builder = _begun(view)
    while not builder.over:
        action = 0 if stepper is None else int(stepper.action(builder))
        builder.decide(BASE_QP + DEFAULT_QP_OFFSETS[action])


def _cpu_seconds(call: Callable[[], Any]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin
