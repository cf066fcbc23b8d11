"""A policy that steps through pictures decides as `predict` does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3 import A2C
from torch import nn

from dmic_gym.agents.baselines import FixedOffsetAgent
from dmic_gym.agents.policy.stepper import MARGIN, policy_stepper
from dmic_gym.agents.policy.trunk import DMICPolicy
from dmic_gym.agents.stepping import PredictStepper, stepper_of
from dmic_gym.envs.image_view import ImageView
from dmic_gym.envs.observations import ObservationBuilder, observation_space
from dmic_gym.envs.results import Reference, sample_key
from dmic_gym.envs.video_observations import (
    CTU_LEVEL,
    FRAME_LEVEL,
    Progress,
    VideoObservationBuilder,
    video_observation_space,
)
from dmic_gym.envs.video_view import FrameView
from dmic_gym.tasks.data.sample import Sample
from tests.agents.policies import small_model, small_vec
from tests.support import texture, vesselness

IMAGES, VIDEO = observation_space(), video_observation_space()


def policy(space: spaces.Dict = IMAGES, actions: int = 13, **arguments: Any) -> DMICPolicy:
    """A policy as new whose actions differ from CTU to CTU."""
    torch.manual_seed(0)
    made = DMICPolicy(space, spaces.Discrete(actions), lambda _: 1e-3, **arguments)
    with torch.no_grad():
        head(made).weight.mul_(1000.0)
    return made


def head(made: DMICPolicy) -> nn.Linear:
    assert isinstance(made.action_net, nn.Linear)
    return made.action_net


def known(shape: tuple[int, int], seed: int = 0) -> Reference:
    sample = Sample(texture(shape, seed))
    return Reference(sample, sample_key(sample), vesselness(sample.image[np.newaxis])[0])


def walk(made: DMICPolicy, builder: ObservationBuilder, stepper: Any, seed: int = 0) -> list[int]:
    """Compare the actions of a picture, some QPs being set by others; return them."""
    rng, actions = np.random.default_rng(seed), []
    while not builder.over:
        expected = int(made.predict(builder.observation(), deterministic=True)[0])
        assert int(stepper.action(builder)) == expected
        actions.append(expected)
        if isinstance(builder, VideoObservationBuilder) and builder.level == FRAME_LEVEL:
            builder.decide_frame(30 + expected)
        else:
            builder.decide(int(rng.integers(0, 52)) if rng.random() < 0.3 else 26 + expected)
    return actions


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(st.integers(20, 100), st.integers(20, 100)),
    ctu_size=st.sampled_from((64, 32, 16)),
    base_qp=st.integers(0, 51),
    inputs=st.sampled_from(("both", "pixels")),
)
def test_actions_are_those_of_predict(
    shape: tuple[int, int], ctu_size: int, base_qp: int, inputs: str
) -> None:
    made = policy(features_extractor_kwargs={"inputs": inputs})
    builder = ObservationBuilder()
    builder.begin(ImageView(known(shape), ctu_size), base_qp)
    walk(made, builder, policy_stepper(made))


def test_the_actions_of_a_picture_differ() -> None:
    made, builder = policy(), ObservationBuilder()
    builder.begin(ImageView(known((96, 110)), 16), 32)
    assert len(set(walk(made, builder, policy_stepper(made)))) > 3


@pytest.mark.parametrize("level", [FRAME_LEVEL, CTU_LEVEL])
def test_actions_in_video_are_those_of_predict(level: int) -> None:
    made, builder = policy(VIDEO), VideoObservationBuilder()
    stepper, before, progress = policy_stepper(made), None, Progress()
    for frame in range(3):
        builder.begin_frame(FrameView(known((70, 100), frame), before, 32), 32, progress, level)
        walk(made, builder, stepper, frame)
        before = texture((70, 100), frame + 10)
        progress = Progress(0.3, 7000 * frame, 900, 0.7, builder.qp_map())


def test_a_mean_action_between_two_is_left_to_the_policy() -> None:
    made = policy(actions=4)
    with torch.no_grad():
        head(made).weight.zero_()
        head(made).bias.zero_()  # the mean action is 1.5
    builder = ObservationBuilder()
    builder.begin(ImageView(known((64, 64)), 32), 32)
    assert walk(made, builder, policy_stepper(made)) == [2, 2, 2, 2]


def test_mean_actions_are_exact_well_within_the_margin() -> None:
    made, builder = policy(), ObservationBuilder()
    stepper = policy_stepper(made)
    assert stepper is not None
    builder.begin(ImageView(known((96, 96)), 16), 32)
    worst = 0.0
    while not builder.over:
        with torch.no_grad():
            seen = made.obs_to_tensor(builder.observation())[0]
            likely: Any = made.get_distribution(seen).distribution
        mean = float(likely.probs[0].double() @ torch.arange(13.0, dtype=torch.float64))
        worst = max(worst, abs(stepper._mean(builder) - mean))
        builder.decide(int(26 + mean))
    assert worst < MARGIN / 10


def test_weights_that_change_are_seen() -> None:
    made, view = policy(), ImageView(known((130, 130)), 32)
    for _ in range(2):
        builder = ObservationBuilder()
        builder.begin(view, 32)
        walk(made, builder, policy_stepper(made))
        with torch.no_grad():
            for parameter in made.features_extractor.parameters():
                parameter.data.mul_(-1.5)


def test_a_step_out_of_turn_is_taken_anew() -> None:
    made, stepper = policy(), policy_stepper(policy())
    builders = [ObservationBuilder(), ObservationBuilder()]
    for seed, builder in enumerate(builders):
        builder.begin(ImageView(known((128, 128), seed), 64), 32)
    assert stepper is not None
    for _ in range(4):
        for builder in builders:
            expected = int(made.predict(builder.observation(), deterministic=True)[0])
            assert int(stepper.action(builder)) == expected
            builder.decide(40)


def test_who_is_stepped_by_its_network() -> None:
    model = small_model(policy=DMICPolicy)
    assert policy_stepper(model) is not None
    assert policy_stepper(model.policy) is not None

    class Own(DMICPolicy):
        pass

    class OwnModel(A2C):
        def predict(self, *_: Any, **__: Any) -> Any:
            return 0, None

    numbers = policy(features_extractor_kwargs={"inputs": "numbers"})
    others: list[Any] = [
        small_model(policy=Own),
        OwnModel(DMICPolicy, small_vec(), device="cpu"),
        policy(activation_fn=nn.Tanh),
        numbers,
        FixedOffsetAgent((0, 1)),
    ]
    for agent in others:
        assert isinstance(stepper_of(agent), PredictStepper)
