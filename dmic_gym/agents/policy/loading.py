"""Policies as files: `load_policy` and `save_policy`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from dmic_gym.agents.policy.card import POLICIES, AnyEnv, PolicyArguments, qp_offsets_of
from dmic_gym.agents.policy.key_map import KeyMap, rename
from dmic_gym.agents.policy.load_report import LoadReport, copy_tensors, own_tensors
from dmic_gym.agents.policy.weight_files import read_tensors
from dmic_gym.agents.registry import SHIPPED_POLICIES
from dmic_gym.envs.observations import observation_space
from dmic_gym.errors import InvalidInputError, WeightsError, unknown_name
from dmic_gym.io import versions_of
from dmic_gym.tasks.segmenters.weights import Card, load_weights, save_weights

PACKAGES = ("dmic_gym", "av", "gymnasium", "numpy", "stable-baselines3", "torch")

_OWN = {".safetensors", ".json"}


def load_policy(
    name_or_path: str | Path,
    env: AnyEnv,
    *,
    policy: str | type[ActorCriticPolicy] | None = None,
    key_map: KeyMap | None = None,
    strict: bool = True,
    device: str = "auto",
    algorithm: type[OnPolicyAlgorithm] = A2C,
    **algorithm_kwargs: Any,
) -> OnPolicyAlgorithm:
    """Return a Stable-Baselines3 model with the policy of a file, ready to predict and to learn.

    A file with a card (`save_policy`, `dmic pretrain`, `dmic finetune`) says itself what the
    policy is and which environment it belongs to. Any other file, be it safetensors, a
    ``state_dict`` in ``.pt``, or a ``.zip`` of ``model.save()``, is taken for the tensors of
    `HRLVSCPolicy` unless `policy` says otherwise. Nothing in a file is run.

    Args:
        name_or_path: the name of shipped weights, or a file.
        env: ``gym.make("CodingEnv-v0")``, ``make_sb3_vec()`` or any environment or `VecEnv` of
            Stable-Baselines3 with the same observations and actions.
        policy: the policy's class or name; default: what the card says.
        key_map: a table that renames the file's tensors; see `dmic_gym.agents.policy.key_map`.
        strict: refuse unless all tensors fit; otherwise load those that do, and warn.
        device: "auto" (CUDA where present), "cpu", "cuda", ...
        algorithm: `A2C`, `PPO` or another on-policy algorithm.
        **algorithm_kwargs: the algorithm's, such as ``learning_rate``; ``policy_kwargs`` adds to
            the card's.

    Raises:
        InvalidInputError: no such name; the environment's observations or QP offsets are not those
            the policy was trained on.
        WeightsError: the file is missing, damaged, would run code, or does not fit.
    """
    if not isinstance(env, gym.Env | VecEnv):
        raise InvalidInputError(
            f'env must be a gym.make("CodingEnv-v0") or make_sb3_vec(), got {type(env).__name__}.'
        )
    tensors, card = _read(name_or_path)
    arguments = None if card is None else PolicyArguments.from_card(card)
    if arguments is not None:
        arguments.check(
            env.observation_space, env.action_space, qp_offsets_of(env), str(name_or_path)
        )
    kwargs = algorithm_kwargs.pop("policy_kwargs", None) or {}
    own_kwargs = {} if arguments is None else arguments.kwargs()
    model = algorithm(
        _policy_class(policy, card),
        env,
        device=device,
        policy_kwargs={**own_kwargs, **kwargs},
        **algorithm_kwargs,
    )
    _fill(model.policy, tensors, str(name_or_path), key_map, strict)
    return model


def load_agent(name_or_path: str | Path, qp_offsets: Sequence[int]) -> ActorCriticPolicy:
    """Return the policy of a file on the CPU, ready to predict; no environment is needed.

    Args:
        name_or_path: as for `load_policy`.
        qp_offsets: the action table it is to act with.

    Raises:
        InvalidInputError: no such name; the policy was trained on other observations or offsets.
        WeightsError: the file is missing, damaged, would run code, or does not fit.
    """
    tensors, card = _read(name_or_path)
    arguments = None if card is None else PolicyArguments.from_card(card)
    seen, actions = observation_space(), spaces.Discrete(len(qp_offsets))
    if arguments is not None:
        arguments.check(seen, actions, list(qp_offsets), str(name_or_path))
    kwargs = {} if arguments is None else arguments.kwargs()
    policy = _policy_class(None, card)(seen, actions, lambda _: 0.0, **kwargs)
    _fill(policy, tensors, str(name_or_path), None, strict=True)
    policy.set_training_mode(False)
    return policy


def load_into(
    policy: ActorCriticPolicy,
    name_or_path: str | Path,
    *,
    key_map: KeyMap | None = None,
    strict: bool = True,
) -> LoadReport:
    """Copy the tensors of a file into a policy that exists; say what fitted.

    Args and errors are those of `load_policy`; without an environment, nothing compares
    observations and QP offsets with the card's.
    """
    return _fill(policy, _read(name_or_path)[0], str(name_or_path), key_map, strict)


def save_policy(
    model: OnPolicyAlgorithm,
    folder: str | Path,
    name: str,
    *,
    data: Sequence[str] = (),
    command: str = "",
    metrics: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write the policy's tensors as ``NAME.safetensors`` and its card ``NAME.json``.

    The optimizer's state is not written; ``model.save()`` keeps it.

    Args:
        model: a trained model with its environment.
        folder: made if missing.
        name: of the weights.
        data: what the policy was trained on.
        command: the command line that makes it again.
        metrics: results, plain JSON values.
        notes: what a reader must know, one sentence each.

    Returns:
        The path of the safetensors file, for `load_policy`.

    Raises:
        InvalidInputError: the model has no environment, or a card cannot hold what builds it.
    """
    card = Card(
        name=name,
        architecture=_architecture(type(model.policy)),
        arguments=PolicyArguments.of(model).as_json(),
        data=list(data),
        command=command,
        seed=model.seed,
        versions=versions_of(PACKAGES),
        metrics=dict(metrics or {}),
        notes=list(notes),
    )
    tensors = {first: tensor for first, (tensor, _) in own_tensors(model.policy).items()}
    return save_weights(tensors, card, folder)


def _read(name_or_path: str | Path) -> tuple[dict[str, Tensor], Card | None]:
    """Read tensors and, where there is one, the card, which must then hold."""
    path = Path(name_or_path)
    is_path = path.suffix or len(path.parts) > 1 or path.is_file()
    has_card = path.suffix in _OWN and path.with_suffix(".json").exists()
    if is_path and not has_card:
        return read_tensors(path), None
    return load_weights(name_or_path, SHIPPED_POLICIES)


def _fill(
    policy: ActorCriticPolicy,
    tensors: Mapping[str, Tensor],
    source: str,
    key_map: KeyMap | None,
    strict: bool,
) -> LoadReport:
    report = copy_tensors(policy, rename(tensors, key_map), source, strict=strict)
    if not report.complete:
        warnings.warn(f"{report}\nThe rest of the policy is as new.", stacklevel=3)
    return report


def _architecture(kind: type[Any]) -> str:
    for name, known in POLICIES.items():
        if kind is known:
            return name
    return f"{kind.__module__}:{kind.__qualname__}"


def _policy_class(
    policy: str | type[ActorCriticPolicy] | None, card: Card | None
) -> type[ActorCriticPolicy]:
    """Choose the class; a card's name is looked up in `POLICIES` and never imported."""
    if isinstance(policy, type):
        return policy
    if policy is not None:
        if policy not in POLICIES:
            raise unknown_name("policy", policy, POLICIES)
        return POLICIES[policy]
    name = "HRLVSCPolicy" if card is None else card.architecture
    if name not in POLICIES:
        raise WeightsError(
            f"The card names the policy {name}, which does not come with dmic_gym: pass its "
            f"class, policy={name.rpartition(':')[2]}."
        )
    return POLICIES[name]
