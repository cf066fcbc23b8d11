"""What a policy's card says of the policy and of the environment it belongs to."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import gymnasium as gym
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from dmic_gym.agents.policy.sb3_model import ACTIVATIONS, OF_THE_OPTIMIZER, check_size
from dmic_gym.errors import InvalidInputError, WeightsError
from dmic_gym.tasks.segmenters.weights import Card

AnyEnv = gym.Env[Any, Any] | VecEnv


class PolicyMismatchWarning(UserWarning):
    """A policy is used at a CTU size or with QP offsets that it was not trained for."""


@dataclass(frozen=True)
class PolicyArguments:
    """What builds a policy, and what it was trained for: `Card.arguments` of a policy's card.

    Attributes:
        observation: shape and dtype of each key of the observation.
        actions: number of actions.
        qp_offsets: what they mean; None if the environment did not say.
        policy_kwargs: plain keyword arguments of the policy's class; an activation by its name.
        ctu_size: side of a CTU in luma samples; None if the environment did not say.
        critic: False if the critic was never trained; its tensors are then not in the file.
    """

    observation: dict[str, dict[str, Any]]
    actions: int
    qp_offsets: list[int] | None
    policy_kwargs: dict[str, Any]
    ctu_size: int | None = None
    critic: bool = True

    @classmethod
    def of_env(cls, env: AnyEnv) -> Self:
        """Describe an environment, wrapped or not, or a `VecEnv`."""
        if not isinstance(env.action_space, spaces.Discrete):
            raise InvalidInputError(
                "The policy chooses among QP offsets; the environment's actions are "
                f"{env.action_space}. Pass CodingEnv-v0 or make_sb3_vec()."
            )
        offsets, ctu_size = _attribute(env, "qp_offsets"), _attribute(env, "ctu_size")
        return cls(
            observation=_describe(env.observation_space),
            actions=int(env.action_space.n),
            qp_offsets=None if offsets is None else [int(offset) for offset in offsets],
            policy_kwargs={},
            ctu_size=None if ctu_size is None else int(ctu_size),
        )

    @classmethod
    def of_model(cls, model: BaseAlgorithm, critic: bool) -> Self:
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
        kwargs = _plain_kwargs(model.policy_kwargs)
        return replace(cls.of_env(env), policy_kwargs=kwargs, critic=critic)

    @classmethod
    def from_card(cls, card: Card) -> Self:
        """Read what `asdict` of one gave; raise WeightsError if the card is not a policy's."""
        known = {f.name: card.arguments[f.name] for f in fields(cls) if f.name in card.arguments}
        try:
            found = cls(**known)
        except TypeError as error:
            raise WeightsError(
                f"The card of {card.name!r} ({card.architecture}) is not a policy's ({error}). "
                "Policies come from save_policy or dmic pretrain."
            ) from error
        check_size(found.policy_kwargs, card.name)
        return found

    def kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments of the policy's class."""
        name = self.policy_kwargs.get("activation_fn")
        if name is None:
            return dict(self.policy_kwargs)
        if name not in ACTIVATIONS:
            raise WeightsError(
                f"The card's activation_fn {name!r} is none of {', '.join(ACTIVATIONS)}."
            )
        return self.policy_kwargs | {"activation_fn": ACTIVATIONS[name]}

    def check(
        self, met: PolicyArguments, name: str, strict: bool, optional: Collection[str] = ()
    ) -> None:
        """Compare with the environment that the policy is to act in.

        Where it can act all the same, but was trained for another CTU size or for other QP offsets,
        it warns by `PolicyMismatchWarning`.

        Args:
            met: the environment's.
            name: of the policy, for messages.
            strict: refuse instead of warning.
            optional: keys of the observation that the policy can do without.

        Raises:
            InvalidInputError: observations or the number of actions differ, or, if `strict`, CTU
                size or QP offsets; the message says what to pass.
        """
        for key in sorted(self.observation.keys() | met.observation.keys()):
            own, other = self.observation.get(key), met.observation.get(key)
            absent = None in (own, other)
            if own != other and not (absent and key in optional):
                raise InvalidInputError(
                    f"{name} was trained on the observation {key!r} = {_words(own)}; this "
                    f"environment has {_words(other)}. Pass CodingEnv-v0 or make_sb3_vec() "
                    "without wrappers that change observations."
                )
        table = f"qp_offsets={tuple(self.qp_offsets or ['...'] * self.actions)}"
        if met.actions != self.actions:
            raise InvalidInputError(
                f"{name} was trained on other QP offsets than this environment has ("
                f"{met.qp_offsets or f'{met.actions} actions'}). Make the environment with {table}."
            )
        if self.ctu_size and met.ctu_size not in (None, self.ctu_size):
            way_out = f"ctu_size={self.ctu_size} (--ctu {self.ctu_size})"
            _tell(name, f"CTU {self.ctu_size}", f"CTU {met.ctu_size}", way_out, strict)
        if self.qp_offsets and met.qp_offsets not in (None, self.qp_offsets):
            _tell(name, "other QP offsets", f"the offsets {met.qp_offsets}", table, strict)


def _tell(name: str, trained: str, used: str, way_out: str, strict: bool) -> None:
    message = (
        f"The policy {name} was trained for {trained} and is used at {used}: it may cost more bits "
        f"than it saves. Use it with {way_out}, or train a policy for {used}."
    )
    if strict:
        raise InvalidInputError(message)
    warnings.warn(message, PolicyMismatchWarning, stacklevel=4)


def _attribute(env: AnyEnv, name: str) -> Any:
    """Return an attribute of the environment, None if it has none of that name."""
    try:
        return env.get_attr(name, 0)[0] if isinstance(env, VecEnv) else env.get_wrapper_attr(name)
    except AttributeError:
        return None


def _describe(space: spaces.Space[Any]) -> dict[str, dict[str, Any]]:
    """Return shape and dtype of each key of a flat `Dict`, or of the one space under ""."""
    parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    return {
        key: {"shape": list(part.shape or ()), "dtype": str(part.dtype)}
        for key, part in parts.items()
    }


def _plain_kwargs(policy_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: v for key, v in policy_kwargs.items() if key not in OF_THE_OPTIMIZER}
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
