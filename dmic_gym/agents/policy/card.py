"""What a policy's card says of the policy and of the environment it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from dmic_gym.agents.policy.network import HRLVSCPolicy
from dmic_gym.errors import InvalidInputError, WeightsError
from dmic_gym.tasks.segmenters.weights import Card

POLICIES: dict[str, type[ActorCriticPolicy]] = {
    "HRLVSCPolicy": HRLVSCPolicy,
    "MultiInputPolicy": MultiInputActorCriticPolicy,
}
"""Policies that a card can name; of others, the class has to be passed."""

_ACTIVATIONS = {made.__name__: made for made in (nn.ReLU, nn.Tanh, nn.ELU, nn.SiLU, nn.GELU)}
_OF_THE_ALGORITHM = {"optimizer_class", "optimizer_kwargs"}

AnyEnv = gym.Env[Any, Any] | VecEnv


@dataclass(frozen=True)
class PolicyArguments:
    """What builds a policy: `Card.arguments` of a policy's card.

    Attributes:
        policy_kwargs: plain keyword arguments of the policy's class; an activation by its name.
        observation: shape and dtype of each key of the observation.
        actions: number of actions.
        qp_offsets: what they mean; None if the environment did not say.
    """

    policy_kwargs: dict[str, Any]
    observation: dict[str, dict[str, Any]]
    actions: int
    qp_offsets: list[int] | None

    @classmethod
    def of(cls, model: BaseAlgorithm) -> PolicyArguments:
        """Describe a model that has its environment.

        Raises:
            InvalidInputError: no environment, or something that a card cannot hold.
        """
        env = model.get_env()
        if env is None:
            raise InvalidInputError("The model has no environment: call model.set_env(env) first.")
        normalizer = model.get_vec_normalize_env()
        if normalizer is not None and normalizer.norm_obs:
            raise InvalidInputError(
                "VecNormalize changed the observations, and its statistics are no weights. Train "
                "with VecNormalize(..., norm_obs=False), or keep the model by model.save()."
            )
        return cls(
            _plain_kwargs(model.policy_kwargs),
            describe(env.observation_space),
            _count(env.action_space),
            qp_offsets_of(env),
        )

    @classmethod
    def from_card(cls, card: Card) -> PolicyArguments:
        """Read what `as_json` wrote.

        Raises:
            WeightsError: the card is not a policy's.
        """
        try:
            return cls(**{field.name: card.arguments[field.name] for field in fields(cls)})
        except KeyError as error:
            raise WeightsError(
                f"The card of {card.name!r} ({card.architecture}) is not a policy's: it lacks "
                f"{error}. Policies come from save_policy or dmic pretrain."
            ) from error

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    def kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments of the policy's class."""
        name = self.policy_kwargs.get("activation_fn")
        if name is None:
            return dict(self.policy_kwargs)
        if name not in _ACTIVATIONS:
            raise WeightsError(
                f"The card's activation_fn {name!r} is none of {', '.join(_ACTIVATIONS)}."
            )
        return self.policy_kwargs | {"activation_fn": _ACTIVATIONS[name]}

    def check(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        offsets: list[int] | None,
        name: str,
    ) -> None:
        """Compare with the spaces and the action table of an environment.

        Raises:
            InvalidInputError: observations or actions differ; the message says what to pass.
        """
        seen = describe(observation_space)
        for key in sorted(self.observation.keys() | seen.keys()):
            own, other = self.observation.get(key), seen.get(key)
            if own != other:
                raise InvalidInputError(
                    f"{name} was trained on the observation {key!r} = {_words(own)}; this "
                    f"environment has {_words(other)}. Pass CodingEnv-v0 or make_sb3_vec() "
                    "without wrappers that change observations."
                )
        actions = _count(action_space)
        if actions != self.actions or (self.qp_offsets and offsets not in (None, self.qp_offsets)):
            raise InvalidInputError(
                f"{name} was trained on other QP offsets than this environment has "
                f"({offsets or f'{actions} actions'}). Make the environment with "
                f"qp_offsets={tuple(self.qp_offsets or ['...'] * self.actions)}."
            )


def qp_offsets_of(env: AnyEnv) -> list[int] | None:
    """Return the action table of an environment, None if it has none."""
    try:
        if isinstance(env, VecEnv):
            found = env.get_attr("qp_offsets", 0)[0]
        else:
            found = env.get_wrapper_attr("qp_offsets")
    except AttributeError:
        return None
    return [int(offset) for offset in found]


def describe(space: spaces.Space[Any] | None) -> dict[str, dict[str, Any]]:
    """Return shape and dtype of each key of a flat `Dict`, or of the one space under ""."""
    parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    return {
        key: {"shape": list((part and part.shape) or ()), "dtype": str(part and part.dtype)}
        for key, part in parts.items()
    }


def _count(space: spaces.Space[Any]) -> int:
    if not isinstance(space, spaces.Discrete):
        raise InvalidInputError(
            f"The policy chooses among QP offsets; the environment's actions are {space}. Pass "
            "CodingEnv-v0 or make_sb3_vec()."
        )
    return int(space.n)


def _plain_kwargs(policy_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: v for key, v in policy_kwargs.items() if key not in _OF_THE_ALGORITHM}
    if isinstance(activation := kept.get("activation_fn"), type):
        kept["activation_fn"] = activation.__name__
    for key, value in kept.items():
        try:
            json.dumps(value)
        except TypeError as error:
            raise InvalidInputError(
                f"policy_kwargs[{key!r}] = {value!r} cannot stand on a card. Make a subclass of "
                "the policy that needs no such argument, or keep the model by model.save()."
            ) from error
    return kept


def _words(entry: Mapping[str, Any] | None) -> str:
    return "absent" if entry is None else f"{entry['dtype']} {tuple(entry['shape'])}"
