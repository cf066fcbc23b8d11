"""Reading tensors from files that others made, without running what is in them.

Known by their content, whatever they are called: safetensors, PyTorch's zip format (a
``state_dict``, bare or nested in a checkpoint) and the zip files of Stable-Baselines3, of which the
pickled parts are never opened. Pickles of tensors are read twice: first their opcodes, for the
names of what they would call, then by ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from dmic_gym.errors import WeightsError

MAX_BYTES = 1 << 30
"""The largest file that is read, and the most that it may hold unpacked."""

_MAX_INDEX = 1 << 26
_MAX_DEPTH = 4
_HARMLESS = re.compile(
    r"collections OrderedDict|torch Size|torch device|torch [A-Za-z0-9]+Storage"
    r"|torch (b?float|u?int|complex)\d+|torch bool"
    r"|torch\._utils _rebuild_(tensor_v2|parameter)"
)
_ADVICE = (
    "Tensors alone are read: in the program that made it, type "
    "torch.save(module.state_dict(), 'weights.pt')."
)
_DAMAGED = (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, ValueError)


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Return the tensors of a file by name, on the CPU, and what Stable-Baselines3 says of them.

    A checkpoint with one ``state_dict`` gives that one's names; with several, each name begins
    with the place of its ``state_dict`` and a dot. Beside the tensors of a ``model.save()`` comes
    the JSON of the model, in which pickles are mere text; beside others None.

    Raises:
        WeightsError: no such file, none of the known formats, damaged, too large, without
            tensors, or it would have to run code.
    """
    path, model = Path(path), None
    data = _bytes_of(path)
    if data.startswith(b"PK\x03\x04"):
        found, model = _from_zip(path, data)
    elif data[8:9] == b"{":
        try:
            found = load(data)
        except (SafetensorError, KeyError) as error:
            raise WeightsError(f"{path}: not a safetensors file ({error}).") from error
    else:
        raise WeightsError(
            f"{path}: not read, because it is neither safetensors nor a zip file of PyTorch 1.6 or "
            f"later or Stable-Baselines3; a plain pickle can run code. {_ADVICE}"
        )
    return {name: tensor.detach() for name, tensor in found.items()}, model


def _bytes_of(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WeightsError(f"{path}: not read: it is larger than {MAX_BYTES >> 20} MiB.")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be read ({error.strerror}). Give the path of a .safetensors, .pt, "
            ".pth or .zip file."
        ) from error


def _from_zip(path: Path, data: bytes) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Read a zip file of PyTorch or, around one, of Stable-Baselines3."""
    model = None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_size(path, archive)
            if "policy.pth" in archive.namelist():
                data, model = archive.read("policy.pth"), _json_of(archive)
        return _from_torch(path, data), model
    except WeightsError:
        raise
    except _DAMAGED as error:
        raise WeightsError(f"{path}: damaged ({error}).") from error


def _json_of(archive: zipfile.ZipFile) -> dict[str, Any] | None:
    try:
        found = json.loads(archive.read("data"))
    except (KeyError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _from_torch(path: Path, data: bytes) -> dict[str, Tensor]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        _check_size(path, archive)
        _check_pickles(path, archive)
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: refused by torch.load(weights_only=True).") from error
    places = dict(_state_dicts(content))
    if not places:
        raise WeightsError(f"{path}: holds no state_dict, that is no tensors by name.")
    return {
        f"{place}.{name}" if place and len(places) > 1 else name: tensor
        for place, tensors in places.items()
        for name, tensor in tensors.items()
    }


def _check_size(path: Path, archive: zipfile.ZipFile) -> None:
    names = [info.filename.lower() for info in archive.infolist()]
    if len(set(names)) != len(names):
        raise WeightsError(f"{path}: damaged (two parts have one name).")
    if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
        raise WeightsError(
            f"{path}: unpacks to more than {MAX_BYTES >> 20} MiB, so it is not read."
        )


def _check_pickles(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse a pickle that names anything but tensors, sizes and dictionaries."""
    pickles = [info for info in archive.infolist() if info.filename.endswith(".pkl")]
    if [info.filename.rpartition("/")[2] for info in pickles] != ["data.pkl"]:
        raise WeightsError(f"{path}: a zip file, but not one of torch.save or model.save.")
    if pickles[0].file_size > _MAX_INDEX:
        raise WeightsError(f"{path}: its index is larger than {_MAX_INDEX >> 20} MiB.")
    names = set(_called(archive.read(pickles[0])))
    if bad := sorted(name.replace(" ", ".") for name in names if not _HARMLESS.fullmatch(name)):
        raise WeightsError(
            f"{path}: refused, and nothing in it was run: it would call {', '.join(bad[:3])}. "
            f"{_ADVICE}"
        )


def _called(content: bytes) -> Iterator[str]:
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "GLOBAL":
            yield str(argument)
        elif opcode.name in {"STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}:
            yield f"an object by {opcode.name}"


def _state_dicts(content: Any, place: str = "") -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Find the dictionaries of tensors, with their places; optimizers' have integer keys."""
    if not isinstance(content, Mapping) or place.count(".") >= _MAX_DEPTH:
        return
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    if tensors := {key: value for key, value in named.items() if isinstance(value, Tensor)}:
        yield place, tensors
    for key, value in named.items():
        yield from _state_dicts(value, f"{place}.{key}" if place else key)
