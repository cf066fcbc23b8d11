"""The state of a training run on disk, so that a run that was cut off goes on where it was."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, Protocol

import torch

from dmic_gym.errors import InvalidInputError, WeightsError
from dmic_gym.io import write_atomically


class _Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class Checkpoint:
    """One file that holds everything a training run changes from epoch to epoch.

    A run that goes on from it ends with the weights of a run that was never cut off. The file
    is read as plain tensors and numbers; nothing in it can run.

    Args:
        path: the file.
        identity: what makes the run this one; JSON values. Another run refuses the file.
    """

    def __init__(self, path: str | Path, identity: dict[str, Any]) -> None:
        self.path = Path(path)
        self._identity = identity

    def save(self, epoch: int, **parts: _Stateful) -> None:
        """Write the parts after an epoch, atomically, and torch's random state with them."""
        content = {"identity": self._identity, "epoch": epoch, "random": _random_state()}
        content["parts"] = {name: part.state_dict() for name, part in parts.items()}
        buffer = io.BytesIO()
        torch.save(content, buffer)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, buffer.getvalue())

    def restore(self, **parts: _Stateful) -> int:
        """Load the parts and torch's random state; return the last epoch, 0 where no file is.

        Raises:
            InvalidInputError: the file belongs to another run.
            WeightsError: the file is damaged.
        """
        if not self.path.is_file():
            return 0
        content = self._content()
        if content["identity"] != self._identity:
            raise InvalidInputError(
                f"{self.path} is of a run with {_first_difference(content, self._identity)}. "
                "Go on with that run's arguments, or start anew without --resume."
            )
        for name, part in parts.items():
            part.load_state_dict(content["parts"][name])
        torch.set_rng_state(content["random"][0])
        if torch.cuda.is_available() and len(content["random"]) > 1:
            torch.cuda.set_rng_state_all(content["random"][1:])
        return int(content["epoch"])

    def forget(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def _content(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = torch.load(self.path, "cpu", weights_only=True)
            missing = {"identity", "epoch", "random", "parts"} - content.keys()
        except (OSError, RuntimeError, EOFError, AttributeError, pickle.UnpicklingError) as error:
            raise WeightsError(
                f"{self.path}: not a checkpoint. Remove it to start anew."
            ) from error
        if missing:
            raise WeightsError(f"{self.path}: not a checkpoint, it lacks {sorted(missing)}.")
        return content


def _random_state() -> list[torch.Tensor]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *cuda]


def _first_difference(content: dict[str, Any], identity: dict[str, Any]) -> str:
    found = content["identity"]
    name = next(n for n in [*identity, *found] if found.get(n) != identity.get(n))
    return f"another {name} ({str(found.get(name))[:80]}, not {str(identity.get(name))[:80]})"
