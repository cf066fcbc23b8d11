"""Weights as safetensors with a JSON card beside them; nothing here can execute a file.

A card says what the tensors are, what they were made from and with which command, how good
they are, and the SHA-256 of the tensors' file. Loading checks the hash, the names and the shapes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from dmic_gym.errors import WeightsError, unknown_name
from dmic_gym.io import write_atomically

SHIPPED = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Card:
    """What a weights file is and where it comes from.

    Attributes:
        name: the name it is loaded by.
        architecture: name of the network.
        arguments: keyword arguments that build the network.
        data: what it was trained on.
        command: the command line that makes it again.
        seed: the seed of that run.
        versions: versions of the packages and the Python that made it.
        metrics: results, plain JSON values.
        notes: what a reader must know, one sentence each.
        sha256: SHA-256 of the safetensors file, set when it is saved.
    """

    name: str
    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    data: list[str] = field(default_factory=list)
    command: str = ""
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sha256: str = ""


def save_weights(
    tensors: Mapping[str, Tensor], card: Card, folder: str | Path, *, half: bool = False
) -> Path:
    """Write ``NAME.safetensors`` and ``NAME.json``, each atomically, the card last.

    Args:
        tensors: a ``state_dict``.
        card: its card; name and contents, the hash is filled in.
        folder: made if missing.
        half: store floating-point tensors of two and more dimensions as float16.

    Returns:
        The path of the safetensors file.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = save({name: _stored(tensor, half) for name, tensor in tensors.items()})
    path = folder / f"{card.name}.safetensors"
    write_atomically(path, data)
    write_card(path, replace(card, sha256=hashlib.sha256(data).hexdigest()))
    return path


def write_card(path: Path, card: Card) -> None:
    """Write the card of the weights file ``path`` atomically."""
    write_json(path.with_suffix(".json"), asdict(card))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain JSON atomically, indented, with a final newline."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def training_stages(card: Card) -> list[dict[str, Any]]:
    """Return what a network was trained on, the weights that it started from included.

    Returns:
        For each stage, the last first: ``data`` and, where the card says it, ``trained_on`` and
        ``held_out``, names of images.
    """
    last: dict[str, Any] = {"data": card.data}
    for key in {"trained_on", "held_out"} & card.metrics.keys():
        last[key] = list(card.metrics[key])
    return [last, *card.metrics.get("before", ())]


def load_weights(
    name_or_path: str | Path, shipped: Path = SHIPPED
) -> tuple[dict[str, Tensor], Card]:
    """Read a weights file and its card; half-precision tensors come back as float32.

    Args:
        name_or_path: the name of a shipped file, or the path of ``NAME.safetensors`` or its card.
        shipped: the folder that names are looked up in.

    Raises:
        InvalidInputError: neither a shipped name nor a file.
        WeightsError: the file or its card is missing, damaged, or the hash differs.
    """
    path = find_weights(name_or_path, shipped)
    card = read_card(path)
    data = _read(path)
    if (found := hashlib.sha256(data).hexdigest()) != card.sha256:
        raise WeightsError(
            f"{path}: SHA-256 is {found[:12]}..., its card says {card.sha256[:12]}.... The file "
            "was changed or damaged; restore both files from one source."
        )
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a safetensors file ({error}).") from error
    return {name: _restored(tensor) for name, tensor in tensors.items()}, card


def find_weights(name_or_path: str | Path, shipped: Path = SHIPPED) -> Path:
    """Return the path of the safetensors file that a name or path stands for.

    Raises:
        InvalidInputError: neither a shipped name nor a file.
    """
    path = Path(name_or_path)
    if path.suffix in {".safetensors", ".json"}:
        path = path.with_suffix(".safetensors")
        if not path.is_file():
            raise WeightsError(
                f"{path}: no such weights file. Give the path of a .safetensors file."
            )
        return path.resolve()
    names = shipped_names(shipped)
    if str(name_or_path) not in names:
        raise unknown_name("weights", str(name_or_path), [*names, "PATH/NAME.safetensors"])
    return shipped / f"{name_or_path}.safetensors"


def shipped_names(shipped: Path = SHIPPED) -> list[str]:
    """List the names of the weights that a folder holds."""
    return sorted(path.stem for path in shipped.glob("*.safetensors"))


def read_card(path: Path) -> Card:
    """Read the card beside a weights file.

    Raises:
        WeightsError: the card is missing or is no card.
    """
    try:
        content = json.loads(_read(path.with_suffix(".json")))
        card = Card(**{f.name: content[f.name] for f in fields(Card)})
        if not isinstance(card.arguments, dict) or not all(
            isinstance(text, str) for text in (card.name, card.architecture, card.sha256)
        ):
            raise TypeError("name, architecture and sha256 are texts, arguments an object")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise WeightsError(f"{path.with_suffix('.json')}: not a card ({error!r}).") from error
    return card


def apply_weights(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Copy tensors into a network; every name and shape must fit.

    Raises:
        WeightsError: names or shapes differ; the message lists the first of them.
    """
    check_fit(module, tensors, what)
    module.load_state_dict(dict(tensors))


def check_fit(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Raise WeightsError unless every name and shape fits; the network may be on "meta"."""
    own = module.state_dict()
    problems = [f"{name} is missing" for name in own if name not in tensors]
    problems += [f"{name} is unknown" for name in tensors if name not in own]
    problems += list(_shape_problems(own, tensors))
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise WeightsError(f"{what} does not fit the network: {'; '.join(problems[:3])}{more}.")


def _shape_problems(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Iterable[str]:
    for name in own.keys() & tensors.keys():
        if own[name].shape != tensors[name].shape:
            yield f"{name} is {tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}"


def _stored(tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous().clone()
    return tensor.half() if half and tensor.is_floating_point() and tensor.ndim > 1 else tensor


def _restored(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}).") from error
