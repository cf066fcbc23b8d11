"""What the JSON of a Stable-Baselines3 model says of its policy.

In a ``model.save()`` classes stand as pickles, which are not opened, and beside them as text, which
is looked up among the classes that are known here or passed; nothing is imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from typing import Any

from stable_baselines3.common.policies import BasePolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import CombinedExtractor
from stable_baselines3.dqn.policies import MultiInputPolicy as DQNMultiInputPolicy
from torch import nn

from dmic_gym.agents.policy.trunk import CTUTrunk, DMICPolicy
from dmic_gym.errors import WeightsError

POLICIES: dict[str, type[BasePolicy]] = {
    "DMICPolicy": DMICPolicy,
    "MultiInputPolicy": MultiInputActorCriticPolicy,
    "DQNMultiInputPolicy": DQNMultiInputPolicy,
}
"""Policies that a file can name; of others, the class has to be passed."""

ACTIVATIONS: dict[str, type[nn.Module]] = {
    made.__name__: made for made in (nn.ReLU, nn.Tanh, nn.ELU, nn.SiLU, nn.GELU)
}

OF_THE_OPTIMIZER = {"optimizer_class", "optimizer_kwargs"}
"""Keyword arguments of a policy that say nothing of its network."""

_MOST_UNITS = 1 << 15
_CLASS = re.compile(r"<class '([\w.]+)'>")
_METHOD = re.compile(r"<function (\w+)\.\w+ at ")


def find_policy(
    model: Mapping[str, Any], source: str, more: Iterable[type[BasePolicy]] = ()
) -> type[BasePolicy]:
    """Return the class of a saved model's policy, one of `POLICIES` or of `more`.

    Raises:
        WeightsError: the model's is another.
    """
    entry = model.get("policy_class")
    entry = entry if isinstance(entry, dict) else {}
    methods = (_METHOD.match(str(entry[key])) for key in ["__init__", *entry] if key in entry)
    name = next((match[1] for match in methods if match), "CLASS")
    name = f"{entry.get('__module__', 'MODULE')}.{name}"
    known = {_full_name(kind): kind for kind in (*POLICIES.values(), *more)}
    if name not in known:
        raise _unknown(name, source)
    return known[name]


def policy_kwargs_of(
    model: Mapping[str, Any], source: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the keyword arguments of a saved model's policy, those in `given` in their place.

    Raises:
        WeightsError: an argument is neither plain nor a class that comes with the package, or they
            ask for a network larger than any file.
    """
    found = model.get("policy_kwargs")
    found = found if isinstance(found, dict) else {}
    kept = found.keys() - given.keys() - OF_THE_OPTIMIZER
    as_text = ":type:" in found  # else they are plain JSON
    kwargs = {
        key: _value(found[key], source) if as_text else found[key]
        for key in found
        if key in kept and not key.startswith(":")
    }
    check_size(kwargs, source)
    return kwargs | dict(given)


def check_size(kwargs: Mapping[str, Any], source: str) -> None:
    """Raise WeightsError if arguments out of a file ask for more units than a file can hold."""
    units, left = 0.0, list[Any]([kwargs])
    while left:
        value = left.pop()
        left += value.values() if isinstance(value, Mapping) else ()
        left += value if isinstance(value, list | tuple | set) else ()
        units += abs(value) if isinstance(value, int | float) else 0
    if units > _MOST_UNITS:
        raise WeightsError(
            f"{source}: not read: its policy_kwargs ask for {units:.0f} units, the most are "
            f"{_MOST_UNITS}."
        )


def _value(value: Any, source: str) -> Any:
    """Return what the text of an argument means: a known class or a literal."""
    if not isinstance(value, str):
        return value
    if match := _CLASS.fullmatch(value):
        known = (*ACTIVATIONS.values(), CombinedExtractor, CTUTrunk)
        for kind in known:
            if _full_name(kind) == match[1]:
                return kind
        raise _unknown(match[1], source)
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise _unknown(value[:60], source) from None


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _unknown(name: str, source: str) -> WeightsError:
    return WeightsError(
        f"{source} was trained with {name}, which does not come with dmic_gym, and nothing in the "
        f"file was run. Name the class and its module, MODULE:CLASS@{source}, as an agent; or "
        "pass it to load_policy as policy=, algorithm= or in policy_kwargs=."
    )
