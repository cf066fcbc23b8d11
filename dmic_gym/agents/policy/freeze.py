"""Training a part of a policy while the rest stays as it is, to the last bit.

``requires_grad=False`` alone does not freeze: BatchNorm's statistics and dropout follow the mode
that the algorithm's ``train()`` sets. And an optimizer made for the trained part alone makes a
saved model that cannot be loaded, so Stable-Baselines3's own stays: it skips parameters without
gradient.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor, nn

from dmic_gym.agents.policy.network import HEAD
from dmic_gym.errors import FreezeError, InvalidInputError, unknown_name


def trainable_share(policy: nn.Module, prefixes: Sequence[str] = HEAD) -> float:
    """Return the share of the policy's parameters that lies under the prefixes, 0..1.

    Parameters count once, however many names they have.

    Raises:
        InvalidInputError: a prefix names no part of the policy.
    """
    parts = PolicyParts(policy, prefixes)
    trained = sum(parameter.numel() for parameter in parts.trained)
    return trained / sum(parameter.numel() for parameter in policy.parameters())


def keep_in_eval(module: nn.Module, _: Any) -> None:
    """Put a module in eval mode before each forward pass; at module level, so that it pickles."""
    freeze = _freezes.get(module)
    if freeze is not None and freeze.is_over():
        freeze.release()
    elif module.training:
        module.eval()


class PolicyParts:
    """The trained and the frozen part of a policy.

    Args:
        policy: any torch module.
        prefixes: names of modules or parameters, as in ``named_modules()``, that are trained with
            all that is below them.

    Attributes:
        trained: the parameters to train.
        frozen: all other parameters and buffers, by name.
        frozen_modules: the topmost modules of which nothing is trained.

    Raises:
        InvalidInputError: a prefix names no part of the policy, or nothing would be trained.
    """

    def __init__(self, policy: nn.Module, prefixes: Sequence[str] = HEAD) -> None:
        prefixes = (prefixes,) if isinstance(prefixes, str) else tuple(prefixes)
        modules = list(policy.named_modules(remove_duplicate=False))
        tensors = [
            *policy.named_parameters(remove_duplicate=False),
            *policy.named_buffers(remove_duplicate=False),
        ]
        _check_prefixes(prefixes, [name for name, _ in (*modules, *tensors) if name])
        starts = tuple(f"{prefix}." for prefix in prefixes)
        chosen = {id(t) for name, t in tensors if f"{name}.".startswith(starts)}
        self.trained = [p for p in policy.parameters() if id(p) in chosen]
        if not self.trained:
            raise InvalidInputError(
                f"Nothing would be trained: {prefixes!r} hold no parameters. The head is {HEAD!r}."
            )
        own: Iterator[tuple[str, Tensor]] = chain(policy.named_parameters(), policy.named_buffers())
        self.frozen = {name: tensor for name, tensor in own if id(tensor) not in chosen}
        live = {id(m) for name, m in modules if f"{name}.".startswith(starts)}
        self.frozen_modules = list(_topmost_without(policy, live | set(map(id, self.trained))))


class Freeze:
    """Hold all but some parts of a policy still; `release` lets go, `verify` proves it held.

    A policy has one freeze at a time: a new one undoes the one before.

    Args:
        policy: any torch module.
        parts: module prefixes that stay trainable.
        is_over: asked before each forward pass of a frozen module; the freeze ends where it is so.

    Raises:
        InvalidInputError: a prefix names no part of the policy.
    """

    def __init__(
        self,
        policy: nn.Module,
        parts: Sequence[str] = HEAD,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        found = PolicyParts(policy, parts)
        unfreeze(policy)
        self.is_over = is_over
        self._policy, self._parts = ref(policy), parts
        self._before = _digests(found.frozen)
        self._required = {name: p.requires_grad for name, p in policy.named_parameters()}
        policy.requires_grad_(False)
        policy.zero_grad(set_to_none=True)
        for parameter in found.trained:
            parameter.requires_grad_(True)
        self._hooks = [m.register_forward_pre_hook(keep_in_eval) for m in found.frozen_modules]
        for module in (policy, *found.frozen_modules):
            _freezes[module] = self

    def release(self) -> None:
        """Let every parameter require a gradient as before; harmless where that has been done."""
        if (policy := self._policy()) is not None:
            for name, parameter in policy.named_parameters():
                parameter.requires_grad_(self._required.get(name, parameter.requires_grad))
        self._required = {}
        for hook in self._hooks:
            hook.remove()

    def verify(self) -> None:
        """Raise FreezeError if a frozen parameter or buffer is not what it was, to the bit."""
        policy = self._policy()
        after = {} if policy is None else _digests(PolicyParts(policy, self._parts).frozen)
        changed = [name for name, digest in self._before.items() if after.get(name) != digest]
        if changed:
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise FreezeError(
                f"Frozen tensors changed in training: {', '.join(changed[:3])}{more}. Something "
                "else than the optimizer wrote to them, such as another callback; reload the "
                "weights, or name these parts in PartialFreezeCallback(parts=...)."
            )


_freezes: WeakKeyDictionary[nn.Module, Freeze] = WeakKeyDictionary()
"""The freeze that a policy, or a frozen module of it, is under."""


def unfreeze(policy: nn.Module) -> None:
    """Undo a policy's freeze without looking at what changed; harmless if there is none."""
    if (freeze := _freezes.pop(policy, None)) is not None:
        freeze.release()


@contextmanager
def frozen_but(policy: nn.Module, parts: Sequence[str] | None) -> Iterator[None]:
    """Freeze all but `parts` within a ``with`` block; None freezes nothing.

    Raises:
        FreezeError: at the end: a frozen parameter or buffer has changed.
    """
    if parts is None:
        yield
        return
    freeze = Freeze(policy, parts)
    try:
        yield
    finally:
        unfreeze(policy)
    freeze.verify()


class PartialFreezeCallback(BaseCallback):
    """Train parts of a policy and keep the rest bit-identical: DMIC's transfer by the head alone.

    The freeze lasts as long as the ``learn()`` that gets the callback: afterwards every parameter
    requires a gradient again as before, so that the next ``learn()`` trains everything unless it
    gets a callback too. One that raises or is interrupted leaves the policy frozen until the next
    ``learn()``, or until ``PartialFreezeCallback.release(model)``. Works with A2C, PPO and other
    on-policy algorithms; a saved model loads and learns on as always, its optimizer being the usual
    one.

    The share of trained parameters is logged as ``train/trainable_share``.

    Args:
        parts: module prefixes to train, as in ``model.policy.named_modules()``; default: the head.
        verbose: 1 prints what is trained.

    Attributes:
        share: trained share of the parameters, 0..1; 0 before the first ``learn()``.

    Raises:
        InvalidInputError: at the start of ``learn()``: a prefix names no part of the policy.
        FreezeError: at the end of ``learn()``: a frozen parameter or buffer has changed.
    """

    def __init__(self, parts: Sequence[str] = HEAD, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.parts = parts
        self.share = 0.0
        self._freeze: Freeze | None = None

    @staticmethod
    def release(model: BaseAlgorithm) -> None:
        """Undo a model's freeze without looking at what changed; harmless if there is none."""
        unfreeze(model.policy)

    def _on_training_start(self) -> None:
        model, started = ref(self.model), self.model.start_time

        def is_over() -> bool:  # a learn() that was interrupted ends when the next one starts
            return getattr(model(), "start_time", None) != started

        self.share = trainable_share(self.model.policy, self.parts)
        self._freeze = Freeze(self.model.policy, self.parts, is_over)
        if self.verbose:
            print(f"Training {self.share:.2%} of the parameters: {', '.join(self.parts)}.")

    def _on_rollout_start(self) -> None:
        self.logger.record("train/trainable_share", self.share)

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        freeze, self._freeze = self._freeze, None
        unfreeze(self.model.policy)
        if freeze is not None:
            freeze.verify()


def _digests(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the SHA-256 of dtype, shape and bits of each tensor."""
    found = {}
    for name, tensor in tensors.items():
        bits = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        head = f"{tensor.dtype} {tuple(tensor.shape)} ".encode()
        found[name] = hashlib.sha256(head + bits.numpy().tobytes()).hexdigest()
    return found


def _topmost_without(module: nn.Module, live: set[int]) -> Iterator[nn.Module]:
    """Yield the topmost modules, each once, that are not and do not hold what is live."""
    if id(module) in live:
        return
    if any(id(part) in live for part in chain[object](module.modules(), module.parameters())):
        for child in module.children():
            yield from _topmost_without(child, live)
    else:
        yield module


def _check_prefixes(prefixes: Sequence[str], names: Sequence[str]) -> None:
    for prefix in prefixes:
        if prefix not in names:
            depth = prefix.count(".")
            raise unknown_name("part", prefix, {n for n in names if n.count(".") <= depth})
