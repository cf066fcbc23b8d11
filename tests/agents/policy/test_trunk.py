"""A policy whose trunk sees the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.preprocessing import preprocess_obs

from dmic_gym.agents.policy.freeze import PartialFreezeCallback, trainable_share
from dmic_gym.agents.policy.loading import load_policy, save_policy
from dmic_gym.agents.policy.network import HEAD
from dmic_gym.agents.policy.trunk import INPUTS, CTUTrunk, DMICPolicy
from dmic_gym.agents.training import CreditCallback
from dmic_gym.envs.observations import observation_space
from dmic_gym.envs.sb3 import SB3CodingVecEnv, make_sb3_vec
from dmic_gym.envs.video_observations import video_observation_space
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.sample import Sample
from tests.envs.video_support import small_video_env
from tests.support import phantoms, vesselness
from tests.support import small_env as single_env


def policy(inputs: str = "both", space: spaces.Dict | None = None, seed: int = 0) -> DMICPolicy:
    torch.manual_seed(seed)
    return DMICPolicy(
        space or observation_space(),
        spaces.Discrete(13),
        lambda _: 1e-3,
        features_extractor_kwargs={"inputs": inputs},
    )


def drawn(space: spaces.Dict, count: int, seed: int = 0) -> dict[str, torch.Tensor]:
    space.seed(seed)
    keys = space.spaces.items()
    return {k: torch.as_tensor(np.stack([s.sample() for _ in range(count)])) for k, s in keys}


def small_env(samples: list[Sample] | None = None) -> SB3CodingVecEnv:
    return make_sb3_vec(
        4,
        samples or phantoms(3),
        segmenter=vesselness,
        preset="ultrafast",
        reward="priced",
        maps_per_image=2,
        workers=1,
        seed=0,
    )


def probabilities(model: Any, observations: dict[str, Any]) -> Any:
    with torch.no_grad():
        tensors, _ = model.policy.obs_to_tensor(observations)
        return model.policy.get_distribution(tensors).distribution.probs.numpy()


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("space", [observation_space(), video_observation_space()])
def test_the_head_holds_its_share_of_the_parameters(inputs: str, space: spaces.Dict) -> None:
    assert trainable_share(policy(inputs, space)) == pytest.approx(0.027, abs=0.001)


@pytest.mark.parametrize("inputs", ["pixels", "both"])
def test_a_gradient_reaches_every_parameter(inputs: str) -> None:
    made = policy(inputs)
    values, log_probs, _ = made.evaluate_actions(
        drawn(observation_space(), 16), torch.arange(16) % 13
    )
    loss: Any = values.mean() + log_probs.mean()
    loss.backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0.0, name


def test_one_set_of_weights_acts_on_images_and_on_video() -> None:
    on_images, on_video = policy(), policy(space=video_observation_space())
    on_video.load_state_dict(on_images.state_dict())
    shown = drawn(video_observation_space(), 5)
    shown["previous"][:] = shown["previous_ctu"][:] = 0
    shown["video"][:] = torch.tensor([1.0, 0, 1, 0, 0, 0, 0, 0, 0])
    still = {key: shown[key] for key in observation_space()}
    assert torch.allclose(on_images.predict_values(still), on_video.predict_values(shown))
    shown["previous_ctu"][:, 1, 20:40] = 255
    assert not torch.allclose(on_images.predict_values(still), on_video.predict_values(shown))


def test_what_no_decision_changes_is_computed_once() -> None:
    trunk, space = policy().features_extractor, observation_space()
    assert isinstance(trunk, CTUTrunk)
    before: Any = preprocess_obs(drawn(space, 4), space)
    after = {**before, "progress": before["progress"].flip(0), "features": before["features"] / 2}
    static = trunk.static(before)
    assert torch.allclose(trunk.step(static, after), trunk(after), atol=1e-6)
    assert not torch.allclose(trunk(after), trunk(before))


def test_equal_pictures_are_seen_once_and_unlike_ones_apart() -> None:
    made, space = policy(), video_observation_space()
    seeing = policy(space=space)
    seeing.load_state_dict(made.state_dict())
    shown = drawn(space, 3)
    many = {key: value[[0, 1, 0, 0, 1, 2, 2, 0]] for key, value in shown.items()}
    many["previous_ctu"][3, 1, 5, 5] ^= 1  # unlike the others in one pixel
    together = seeing.predict_values(many)
    alone = torch.cat(
        [seeing.predict_values({k: v[n : n + 1] for k, v in many.items()}) for n in range(8)]
    )
    assert torch.allclose(together, alone, atol=1e-6)
    assert together[0] == together[2] != together[3]
    made.zero_grad()
    loss: Any = together.sum()
    loss.backward()
    one_by_one = [p.grad.clone() for p in seeing.parameters() if p.grad is not None]
    seeing.zero_grad()
    for n in range(8):
        part: Any = seeing.predict_values({k: v[n : n + 1] for k, v in many.items()}).sum()
        part.backward()
    grads = [p.grad for p in seeing.parameters() if p.grad is not None]
    for one, other in zip(one_by_one, grads, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_pixels_alone_leave_out_the_numbers_that_they_show() -> None:
    seeing, counting = policy("pixels"), policy("numbers")
    shown = drawn(observation_space(), 3)
    other = {**shown, "features": shown["features"].clone()}
    other["features"][:, 6:] = 0.5
    assert torch.equal(seeing.predict_values(shown), seeing.predict_values(other))
    blind = {**shown, "ctu": 255 - shown["ctu"], "frame": shown["frame"].flip(0)}
    assert torch.equal(counting.predict_values(shown), counting.predict_values(blind))
    other["features"][:, 0] += 0.2  # the base QP stands in no picture
    assert not torch.equal(seeing.predict_values(shown), seeing.predict_values(other))


@pytest.mark.parametrize("key", ["ctu", "frame"])
def test_a_moment_is_enough_to_decide_by_a_picture(key: str) -> None:
    """Bright pictures ask for action 2, dark ones for 10; nothing else tells them apart."""
    made, rng = policy(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(made.parameters(), 2e-3)
    plain = drawn(observation_space(), 12)
    for _ in range(50):
        bright = torch.as_tensor(rng.random(12) < 0.5)
        seen = {name: value.roll(int(rng.integers(12)), 0) for name, value in plain.items()}
        seen[key] = torch.where(bright[:, None, None, None], seen[key] // 2 + 128, seen[key] // 2)
        _, log_probs, _ = made.evaluate_actions(seen, torch.where(bright, 2, 10))
        optimizer.zero_grad()
        loss: Any = -log_probs.mean()
        loss.backward()
        optimizer.step()
    shown = {name: value.numpy() for name, value in seen.items()}
    chosen, _ = made.predict(shown, deterministic=True)
    noise = rng.integers(0, 256, shown[key].shape, np.uint8)
    changed, _ = made.predict({**shown, key: noise}, deterministic=True)
    assert np.mean((chosen < 6) == bright.numpy()) > 0.9
    assert (changed != chosen).mean() > 0.1


@pytest.mark.parametrize("algorithm", [A2C, PPO])
def test_both_algorithms_train_the_convolutions(algorithm: Any) -> None:
    env = small_env()
    more = {"batch_size": 36, "n_epochs": 1} if algorithm is PPO else {}
    model = algorithm(DMICPolicy, env, n_steps=9, seed=0, **more)
    trunk = model.policy.features_extractor
    before = [trunk.ctu[0].weight.detach().clone(), trunk.frame[0].weight.detach().clone()]
    model.learn(36, CreditCallback())
    for was, now in zip(before, (trunk.ctu[0].weight, trunk.frame[0].weight), strict=True):
        assert not torch.equal(was, now)
    env.close()


def test_the_head_alone_is_trained() -> None:
    env = small_env()
    model = A2C(DMICPolicy, env, n_steps=9, seed=0)
    before = {name: p.detach().clone() for name, p in model.policy.named_parameters()}
    model.learn(36, [PartialFreezeCallback(), CreditCallback()])
    changed = {n for n, p in model.policy.named_parameters() if not torch.equal(p, before[n])}
    assert changed
    assert all(name.startswith(HEAD) for name in changed)
    env.close()


@pytest.mark.parametrize("inputs", INPUTS)
def test_a_card_builds_the_right_trunk(inputs: str, tmp_path: Path) -> None:
    env = small_env()
    kwargs = {"features_extractor_kwargs": {"inputs": inputs}}
    model = A2C(DMICPolicy, env, policy_kwargs=kwargs, n_steps=9, seed=0)
    path = save_policy(model, tmp_path, "seeing")
    model.save(tmp_path / "model.zip")
    seen = {key: value.numpy() for key, value in drawn(observation_space(), 8).items()}
    for file in (path, tmp_path / "model.zip"):
        loaded = load_policy(file, env)
        assert isinstance(loaded.policy, DMICPolicy)
        assert loaded.policy.features_extractor.inputs == inputs
        assert np.array_equal(probabilities(loaded, seen), probabilities(model, seen))
    env.close()


@pytest.mark.parametrize("learned_on", ["video", "images"])
def test_a_policy_of_video_loads_for_images_and_back(learned_on: str, tmp_path: Path) -> None:
    envs: list[Any] = [small_video_env(mode="ctu"), single_env(ctu_size=32)]
    start, other = envs if learned_on == "video" else envs[::-1]
    model = A2C(DMICPolicy, start, seed=0, n_steps=4)
    path = save_policy(model, tmp_path, "moved")
    loaded = load_policy(path, other)
    for name, tensor in model.policy.state_dict().items():
        assert torch.equal(loaded.policy.state_dict()[name], tensor), name
    observation, _ = other.reset(seed=0)
    assert 0 <= int(loaded.predict(observation)[0]) < 13
    plain = A2C("MultiInputPolicy", start, seed=0, n_steps=4)
    with pytest.raises(InvalidInputError, match="previous"):
        load_policy(save_policy(plain, tmp_path, "plain"), other)
    for env in envs:
        env.close()


def test_other_observations_and_inputs_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="VideoCodingEnv-v0"):
        CTUTrunk(spaces.Dict({"ctu": observation_space()["ctu"]}))
    with pytest.raises(InvalidInputError, match="pixels"):
        policy("pixel")


def test_the_critic_learns_from_the_trunk_and_leaves_it_alone() -> None:
    ours = policy()
    observations = drawn(observation_space(), 4)
    values, _, _ = ours.evaluate_actions(observations, torch.zeros(4))
    loss: Any = values.square().mean()
    loss.backward()
    moved = {name for name, parameter in ours.named_parameters() if parameter.grad is not None}
    assert moved == {
        *(f"mlp_extractor.value_net.0.{kind}" for kind in ("weight", "bias")),
        *(f"value_net.{kind}" for kind in ("weight", "bias")),
    }
    assert values.detach().std() > 0.0
