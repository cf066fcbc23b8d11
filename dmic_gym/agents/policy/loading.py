"""Policies as files: `load_policy` and `save_policy`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor

from dmic_gym.agents.policy import shipped
from dmic_gym.agents.policy.card import AnyEnv, PolicyArguments
from dmic_gym.agents.policy.matching import copy_tensors, own_tensors, rename
from dmic_gym.agents.policy.network import CRITIC
from dmic_gym.agents.policy.sb3_model import POLICIES, find_policy, policy_kwargs_of
from dmic_gym.agents.policy.trunk import VIDEO_KEYS, DMICPolicy
from dmic_gym.agents.policy.weight_files import read_tensors
from dmic_gym.envs.observations import observation_space
from dmic_gym.envs.video_observations import video_observation_space
from dmic_gym.errors import InvalidInputError, WeightsError, unknown_name
from dmic_gym.io import versions_of
from dmic_gym.tasks.segmenters.weights import Card, load_weights, save_weights

PACKAGES = ("dmic_gym", "av", "gymnasium", "numpy", "stable-baselines3", "torch")

_DQN_TRANSITIONS = 10_000


class _Spaces(gym.Env[Any, Any]):
    """Observations and actions of an environment, for a policy that only predicts.

    Args:
        qp_offsets: the action table.
        ctu_size: 64, 32 or 16.
        video: whether `VideoCodingEnv`'s are meant, else `CodingEnv`'s.
    """

    def __init__(self, qp_offsets: Sequence[int], ctu_size: int, video: bool) -> None:
        self.observation_space = video_observation_space() if video else observation_space()
        self.action_space = spaces.Discrete(len(qp_offsets))
        self.qp_offsets = tuple(qp_offsets)
        self.ctu_size = ctu_size


def load_policy(
    name_or_path: str | Path,
    env: AnyEnv,
    *,
    policy: str | type[BasePolicy] | None = None,
    key_map: Mapping[str, str] | None = None,
    partial: bool = False,
    strict: bool = False,
    device: str = "auto",
    algorithm: type[BaseAlgorithm] | None = None,
    **algorithm_kwargs: Any,
) -> BaseAlgorithm:
    """Return a Stable-Baselines3 model with the policy of a file, ready to predict and to learn.

    A file with a card (`save_policy`, `dmic pretrain`, `dmic finetune`) and a ``.zip`` of
    ``model.save()`` say themselves what the policy is. Any other file, be it safetensors or a
    ``state_dict`` in ``.pt``, is taken for the tensors of `DMICPolicy` unless `policy` says
    otherwise. Nothing in a file is run. A card knows for which CTU size and QP offsets the policy
    was trained; a ``.zip`` does not. A `DMICPolicy` that was trained on video acts on images too,
    as on the first frame of a group, and the other way round.

    Args:
        name_or_path: the name of shipped weights, or a file.
        env: ``gym.make("CodingEnv-v0")``, ``make_sb3_vec()`` or any environment or `VecEnv` of
            Stable-Baselines3 with the same observations and actions.
        policy: the policy's class or name; default: what the file says.
        key_map: renames the file's tensors; see `dmic_gym.agents.policy.matching.rename`.
        partial: load the tensors that fit, and warn, instead of refusing unless all do.
        strict: refuse a policy trained for another CTU size or for other QP offsets, instead of
            warning by `dmic_gym.agents.policy.card.PolicyMismatchWarning`.
        device: "auto" (CUDA where present), "cpu", "cuda", ...
        algorithm: `A2C`, `PPO`, `DQN` or another; default: `DQN` for its policies, else `A2C`.
        **algorithm_kwargs: the algorithm's, such as ``learning_rate``; ``policy_kwargs`` adds to
            the file's. A transition in `DQN`'s replay buffer takes 49 kB, so that ``buffer_size``
            is 10,000 here unless it is given.

    Raises:
        InvalidInputError: no such name; the environment's observations or actions are not those
            the policy was trained on.
        WeightsError: the file is missing, damaged, would run code, or does not fit.
    """
    if not isinstance(env, gym.Env | VecEnv):
        raise InvalidInputError(
            f'env must be a gym.make("CodingEnv-v0") or make_sb3_vec(), got {type(env).__name__}.'
        )
    given = algorithm_kwargs.pop("policy_kwargs", None) or {}
    file = _read(name_or_path, policy, algorithm, given)
    optional: tuple[str, ...] = ()
    if file.arguments is not None:
        unneeded = VIDEO_KEYS if issubclass(file.policy, DMICPolicy) else ()
        file.arguments.check(PolicyArguments.of_env(env), file.source, strict, unneeded)
        optional = () if file.arguments.critic else CRITIC
    chosen = _algorithm(algorithm, file)
    if issubclass(chosen, DQN):
        algorithm_kwargs.setdefault("buffer_size", _DQN_TRANSITIONS)
    model = chosen(file.policy, env, device=device, policy_kwargs=file.kwargs, **algorithm_kwargs)
    tensors = rename(file.tensors, key_map)
    report = copy_tensors(model.policy, tensors, file.source, partial=partial, optional=optional)
    if report:
        warnings.warn(f"{report}\nThe rest of the policy is as new.", stacklevel=2)
    return model


def load_agent(
    name_or_path: str | Path,
    qp_offsets: Sequence[int],
    ctu_size: int,
    *,
    read_with: Any = None,
    strict: bool = False,
    video: bool = False,
) -> Any:
    """Return the policy of a file, on the CPU, to predict on the observations of `CodingEnv`.

    Args:
        name_or_path: as for `load_policy`.
        qp_offsets: the action table.
        ctu_size: 64, 32 or 16.
        read_with: a class of the user's: the policy, algorithm or features extractor that a
            ``.zip`` names, of which nothing is run; or one whose own ``load(path)`` reads the file.
        strict: as for `load_policy`.
        video: whether it predicts on those of `VideoCodingEnv`.

    Raises:
        InvalidInputError: as `load_policy`; or `read_with` is none of these.
        WeightsError: as `load_policy`.
    """
    options: dict[str, Any] = {}
    if read_with is not None and issubclass(read_with, BasePolicy):
        options["policy"] = read_with
    elif read_with is not None and issubclass(read_with, BaseAlgorithm):
        options["algorithm"] = read_with
    elif read_with is not None and issubclass(read_with, BaseFeaturesExtractor):
        options["policy_kwargs"] = {"features_extractor_class": read_with}
    elif read_with is not None:
        return _load_by(read_with, Path(name_or_path))
    with torch.random.fork_rng(devices=[]):  # what is not in the file is the same every time
        torch.manual_seed(0)
        env = _Spaces(qp_offsets, ctu_size, video)
        return load_policy(name_or_path, env, device="cpu", strict=strict, **options).policy


def save_policy(
    model: BaseAlgorithm,
    folder: str | Path,
    name: str,
    *,
    data: Sequence[str] = (),
    command: str = "",
    metrics: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    critic: bool = True,
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
        critic: False if the critic was never trained: its tensors are then left out.

    Returns:
        The path of the safetensors file, for `load_policy`.

    Raises:
        InvalidInputError: the model has no environment, or a card cannot hold what builds it.
    """
    kind = type(model.policy)
    names = [name for name, known in POLICIES.items() if kind is known]
    card = Card(
        name=name,
        architecture=names[0] if names else f"{kind.__module__}:{kind.__qualname__}",
        arguments=asdict(PolicyArguments.of_model(model, critic)),
        data=list(data),
        command=command,
        seed=model.seed,
        versions=versions_of(PACKAGES),
        metrics=dict(metrics or {}),
        notes=list(notes),
    )
    left_out = () if critic else CRITIC
    tensors = {
        first: tensor
        for first, (tensor, _) in own_tensors(model.policy).items()
        if not first.startswith(left_out)
    }
    return save_weights(tensors, card, folder)


@dataclass(frozen=True, eq=False)
class _File:
    """What a policy's file holds: tensors, what builds the policy around them, and its card."""

    source: str
    tensors: dict[str, Tensor]
    policy: type[BasePolicy]
    kwargs: dict[str, Any]
    arguments: PolicyArguments | None = None


def _read(
    name_or_path: str | Path,
    policy: str | type[BasePolicy] | None,
    algorithm: type[BaseAlgorithm] | None,
    given: Mapping[str, Any],
) -> _File:
    """Read a policy's file, with `given` in place of its keyword arguments."""
    source = str(name_or_path)
    kind = POLICIES.get(policy) if isinstance(policy, str) else policy
    if kind is None and policy is not None:
        raise unknown_name("policy", policy, POLICIES)
    if _has_card(Path(name_or_path)):
        tensors, card = load_weights(name_or_path, shipped.SHIPPED_POLICIES)
        arguments = PolicyArguments.from_card(card)
        kwargs = {**arguments.kwargs(), **given}
        return _File(source, tensors, kind or _policy_of_card(card), kwargs, arguments)
    tensors, model = read_tensors(name_or_path)
    if kind is None and model is not None:
        aliases = () if algorithm is None else algorithm.policy_aliases.values()
        kind = find_policy(model, source, aliases)
    kwargs = policy_kwargs_of(model or {}, source, given)
    return _File(source, tensors, kind or DMICPolicy, kwargs)


def _has_card(path: Path) -> bool:
    """Whether it is a shipped name or a file with a card beside it, which must then hold."""
    if not (path.suffix or len(path.parts) > 1 or path.is_file()):
        return True
    return path.suffix in {".safetensors", ".json"} and path.with_suffix(".json").exists()


def _policy_of_card(card: Card) -> type[BasePolicy]:
    """Return the class that a card names; it is looked up and never imported."""
    if card.architecture not in POLICIES:
        raise WeightsError(
            f"The card names the policy {card.architecture}, which does not come with dmic_gym: "
            f"pass its class, policy={card.architecture.rpartition(':')[2]}."
        )
    return POLICIES[card.architecture]


def _algorithm(algorithm: type[BaseAlgorithm] | None, file: _File) -> type[BaseAlgorithm]:
    is_dqn = issubclass(file.policy, DQNPolicy)
    if algorithm is not None and is_dqn != issubclass(algorithm, DQN):
        raise InvalidInputError(
            f"{file.source} holds a {file.policy.__name__}, which {algorithm.__name__} cannot use: "
            "leave out algorithm=."
        )
    return algorithm or (DQN if is_dqn else A2C)


def _load_by(kind: Any, path: Path) -> Any:
    """Let a class of the user's read its own file."""
    if not hasattr(kind, "load"):
        raise InvalidInputError(
            f"{kind.__name__} is no policy, algorithm or features extractor of Stable-Baselines3: "
            f"give it a class method load(path) that reads {path}."
        )
    if not path.is_file():
        raise WeightsError(f"{path}: no such file.")
    return kind.load(str(path))
