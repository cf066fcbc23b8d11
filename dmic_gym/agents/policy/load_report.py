"""Copying tensors into a policy, with a report of what fitted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dmic_gym.agents.policy.key_map import suggest
from dmic_gym.errors import WeightsError

_MOST_LISTED = 6


@dataclass(frozen=True)
class LoadReport:
    """What of a file fits a policy.

    A trunk that actor and critic share has three names in Stable-Baselines3's ``state_dict``; it
    counts once, under the first.

    Attributes:
        source: the file or name.
        loaded: names of the policy's tensors that the file has, with the same shape.
        missing: names of the policy's tensors that the file lacks.
        unexpected: names in the file that the policy does not have.
        mismatched: tensors of a wrong shape or kind, a sentence each.
    """

    source: str
    loaded: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the file and the policy have the same tensors."""
        return bool(self.loaded) and not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.missing) + len(self.mismatched)
        lines = [f"{self.source}: {len(self.loaded)} of the policy's {total} tensors fit"]
        lines += [
            f"  {len(entries)} {kind}: {_listed(entries)}"
            for kind in ("missing", "unexpected", "mismatched")
            if (entries := getattr(self, kind))
        ]
        return "\n".join(lines)


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
    module: nn.Module, tensors: Mapping[str, Tensor], source: str, *, strict: bool = True
) -> LoadReport:
    """Copy into a policy what fits it; tensors that do not fit are neither copied nor enlarged.

    Args:
        module: the policy.
        tensors: by name; one name of a tensor that has several is enough.
        source: the file, for the report.
        strict: refuse unless everything fits.

    Raises:
        WeightsError: nothing fits, or, if `strict`, not everything; the policy is unchanged.
    """
    own = own_tensors(module)
    fitting: dict[str, Tensor] = {}
    missing, mismatched = [], []
    for first, (tensor, names) in own.items():
        given = [name for name in names if name in tensors]
        if not given:
            missing.append(first)
        elif problem := _problem(tensor, [tensors[name] for name in given]):
            mismatched.append(f"{given[0]} {problem}")
        else:
            fitting[first] = tensors[given[0]]
    known = {name for _, names in own.values() for name in names}
    unexpected = [name for name in tensors if name not in known]
    report = LoadReport(
        source, tuple(fitting), tuple(missing), tuple(unexpected), tuple(mismatched)
    )
    if not fitting or (strict and not report.complete):
        hint = suggest({name: own[name][0] for name in missing}, _part(tensors, unexpected))
        raise WeightsError(f"{report}\nNothing was loaded. {_advice(report, hint)}")
    with torch.no_grad():
        for name, tensor in fitting.items():
            own[name][0].copy_(tensor)
    return report


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


def _part(tensors: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    return {name: tensors[name] for name in names}


def _listed(entries: Sequence[str]) -> str:
    more = len(entries) - _MOST_LISTED
    return ", ".join(entries[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _advice(report: LoadReport, hint: Mapping[str, str]) -> str:
    """Say what to type."""
    words = []
    if hint:
        words.append(f"For other names pass a table, as in key_map={json.dumps(dict(hint))}.")
    elif report.loaded and report.missing and report.unexpected:
        words.append("For other names pass a table of regular expressions, key_map={OLD: NEW}.")
    if report.loaded:
        words.append("To load what fits, pass strict=False.")
    elif not hint:
        words.append(
            "The file is of another network; if it is a policy's, pass policy= and policy_kwargs=."
        )
    return " ".join(words)
