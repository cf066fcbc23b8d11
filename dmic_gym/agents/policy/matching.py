"""Fitting the tensors of a file to a policy: other names by a table, and a report of what fits."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import takewhile

import torch
from torch import Tensor, nn

from dmic_gym.errors import InvalidInputError, WeightsError

_MOST_COMPARED = 500
_MOST_LISTED = 6

Tensors = Mapping[str, Tensor]


def rename(tensors: Tensors, key_map: Mapping[str, str] | None) -> dict[str, Tensor]:
    """Return the tensors under the names that a table gives them.

    The table maps regular expressions to replacements. Of each name, the first expression found
    in it is replaced everywhere (`re.sub`); a name that becomes empty is dropped; a name in which
    none is found stays.

    Raises:
        InvalidInputError: the table is none, or one of its expressions is not regular.
        WeightsError: two tensors get one name.
    """
    origin: dict[str, str] = {}
    for name in tensors:
        new = _renamed(name, {} if key_map is None else key_map)
        if new in origin:
            raise WeightsError(f"key_map gives {origin[new]!r} and {name!r} the same name {new!r}.")
        if new:
            origin[new] = name
    return {new: tensors[name] for new, name in origin.items()}


def _renamed(name: str, key_map: Mapping[str, str]) -> str:
    try:
        for pattern, replacement in key_map.items():
            if re.search(pattern, name):
                return re.sub(pattern, replacement, name)
    except (re.error, IndexError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"key_map={key_map!r} is no table of regular expressions and replacements ({error}). "
            'Write it as in key_map={r"^net\\.(\\d)": r"features_extractor.\\1"}; "" drops.'
        ) from error
    return name


def own_tensors(module: nn.Module) -> dict[str, tuple[Tensor, list[str]]]:
    """Return each tensor of the ``state_dict`` once, under its first name, with all its names."""
    firsts: dict[int, str] = {}
    found: dict[str, tuple[Tensor, list[str]]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor):
            first = firsts.setdefault(id(tensor), name)
            found.setdefault(first, (tensor, []))[1].append(name)
    return found


def copy_tensors(
    module: nn.Module,
    tensors: Tensors,
    source: str,
    *,
    partial: bool = False,
    optional: tuple[str, ...] = (),
) -> str:
    """Copy into a policy what fits it; tensors that do not fit are neither copied nor enlarged.

    A trunk that actor and critic share has three names in Stable-Baselines3's ``state_dict``; it
    counts once, and one of its names is enough.

    Args:
        module: the policy.
        tensors: by name.
        source: the file, for the report.
        partial: load what fits, instead of refusing unless everything does.
        optional: beginnings of names that the file may lack.

    Returns:
        The report of what did not fit; "" where everything did.

    Raises:
        WeightsError: nothing fits, or, unless `partial`, not everything; the policy is unchanged.
    """
    own = own_tensors(module)
    fitting: dict[str, Tensor] = {}
    missing, mismatched = [], []
    for first, (tensor, names) in own.items():
        given = [name for name in names if name in tensors]
        if not given:
            missing += [] if first.startswith(optional) else [first]
        elif problem := _problem(tensor, [tensors[name] for name in given]):
            mismatched.append(f"{given[0]} {problem}")
        else:
            fitting[first] = tensors[given[0]]
    known = {name for _, names in own.values() for name in names}
    unexpected = [name for name in tensors if name not in known]
    report = f"{source}: {len(fitting)} of the policy's {len(own)} tensors fit"
    report += _listed(missing=missing, unexpected=unexpected, mismatched=mismatched)
    complete = not (missing or unexpected or mismatched)
    if not fitting or not (partial or complete):
        rule = suggest({n: own[n][0] for n in missing}, {n: tensors[n] for n in unexpected})
        raise WeightsError(f"{report}\nNothing was loaded. {_advice(bool(fitting), rule)}")
    with torch.no_grad():
        for name, tensor in fitting.items():
            own[name][0].copy_(tensor)
    return "" if complete else report


def _problem(own: Tensor, given: Sequence[Tensor]) -> str:
    """Say why none of the tensors, all meant for one place, can be copied there; "" if they can."""
    first = given[0]
    if any(tensor.shape != own.shape for tensor in given):
        return f"has shape {tuple(first.shape)}, the policy's has {tuple(own.shape)}"
    if first.is_complex() or first.is_floating_point() != own.is_floating_point():
        return f"is {first.dtype}, the policy's is {own.dtype}"
    if not torch.isfinite(first).all():
        return "holds NaN or infinity"
    if any(not torch.equal(first, tensor) for tensor in given[1:]):
        return "differs from its copy for the critic; the policy shares one trunk"
    return ""


def suggest(missing: Tensors, unexpected: Tensors) -> dict[str, str]:
    """Return the one prefix rule that makes most of the unexpected tensors fit missing ones."""
    votes: Counter[tuple[str, str]] = Counter()
    for name, tensor in list(missing.items())[:_MOST_COMPARED]:
        for other, found in list(unexpected.items())[:_MOST_COMPARED]:
            old, new = other.split("."), name.split(".")
            pairs = zip(old[::-1], new[::-1], strict=False)
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            if same and found.shape == tensor.shape:
                votes[".".join([*old[:-same], ""]), ".".join([*new[:-same], ""])] += 1
    if not votes:
        return {}
    old_start, new_start = min(votes, key=lambda pair: (-votes[pair], len("".join(pair))))
    return {f"^{re.escape(old_start)}": new_start}


def _listed(**kinds: Sequence[str]) -> str:
    lines = ""
    for kind, entries in kinds.items():
        if entries:
            more = f" and {len(entries) - _MOST_LISTED} more" * (len(entries) > _MOST_LISTED)
            lines += f"\n  {len(entries)} {kind}: {', '.join(entries[:_MOST_LISTED])}{more}"
    return lines


def _advice(any_fits: bool, rule: Mapping[str, str]) -> str:
    """Say what to type."""
    if not any_fits and not rule:
        return "The file is of another network: pass its class, policy=, and policy_kwargs=."
    names = f"For other names pass a table, as in key_map={json.dumps(rule)}. " if rule else ""
    return names + "To load what fits, pass partial=True." * any_fits
