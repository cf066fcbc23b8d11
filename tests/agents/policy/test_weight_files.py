from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from dmic_gym.agents.policy import weight_files
from dmic_gym.agents.policy.weight_files import read_tensors as read_file
from dmic_gym.errors import WeightsError

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, -2.0])}


class Payload:
    """A pickle of this runs a call when it is loaded."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def touch(path: str) -> None:
    Path(path).touch()


def read_tensors(path: Path) -> dict[str, Tensor]:
    return read_file(path)[0]


def assert_same(found: dict[str, Tensor]) -> None:
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


def saved(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "content",
    [
        TENSORS,
        OrderedDict((name, nn.Parameter(tensor)) for name, tensor in TENSORS.items()),
        {"state_dict": TENSORS, "epoch": 3, "name": "x"},
        {"model": {"net": {"state_dict": TENSORS}}, "best": 0.5, "shape": torch.Size([3])},
    ],
)
@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w", "w.zip"])
def test_state_dicts_bare_and_nested(content: Any, name: str, tmp_path: Path) -> None:
    assert_same(read_tensors(saved(content, tmp_path / name)))


def test_a_training_checkpoint_with_an_optimizer(tmp_path: Path) -> None:
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    content = {"state_dict": layer.state_dict(), "optimizer": optimizer.state_dict()}
    assert read_tensors(saved(content, tmp_path / "w.pt")).keys() == {"weight", "bias"}


def test_several_state_dicts_keep_their_places(tmp_path: Path) -> None:
    content = {"actor": {"w": torch.zeros(2)}, "nets": {"critic": {"w": torch.ones(2)}}}
    found = read_tensors(saved(content, tmp_path / "w.pt"))
    assert found.keys() == {"actor.w", "nets.critic.w"}
    assert found["nets.critic.w"].sum() == 2


def test_safetensors_whatever_the_name(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "w.pt")
    assert_same(read_tensors(tmp_path / "w.pt"))


def test_tensors_keep_their_dtype_and_need_no_gradient(tmp_path: Path) -> None:
    content = {"half": torch.ones(2).half(), "free": nn.Parameter(torch.ones(2))}
    found = read_tensors(saved(content, tmp_path / "w.pt"))
    assert found["half"].dtype == torch.float16
    assert not found["free"].requires_grad


@pytest.mark.parametrize("kind", ["zip", "pickle", "sb3", "sb3_data"])
def test_code_is_refused_and_does_not_run(kind: str, tmp_path: Path) -> None:
    trace = tmp_path / "it-ran"
    payload = {"state_dict": TENSORS, "extra": Payload(touch, str(trace))}
    path = tmp_path / "w.pt"
    if kind == "zip":
        torch.save(payload, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(payload))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            inner = io.BytesIO()
            torch.save(payload if kind == "sb3" else TENSORS, inner)
            archive.writestr("policy.pth", inner.getvalue())
            archive.writestr("data", pickle.dumps(payload))
    if kind == "sb3_data":
        assert_same(read_tensors(path))  # the pickled data beside the tensors is not looked at
    else:
        with pytest.raises(WeightsError, match=r"torch\.save\(module\.state_dict\(\)"):
            read_tensors(path)
    assert not trace.exists()
    loaded = torch.load(path, weights_only=False) if kind == "zip" else None
    assert trace.exists() == (loaded is not None), "the payload would have worked"


def test_torch_is_a_second_wall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_files, "_check_pickles", lambda *_: None)
    path = saved({"w": Payload(touch, str(tmp_path / "it-ran"))}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="weights_only"):
        read_tensors(path)
    assert not (tmp_path / "it-ran").exists()


def test_pickles_that_hide_names_are_refused(tmp_path: Path) -> None:
    """Since protocol 4 a name is put together at run time."""
    path = rewritten(tmp_path, pickle.dumps(Payload(touch, "x"), protocol=4))
    with pytest.raises(WeightsError, match="STACK_GLOBAL"):
        read_tensors(path)


def rewritten(folder: Path, index: bytes, *, twice: bool = False) -> Path:
    """A file of torch.save with another index."""
    source = zipfile.ZipFile(saved({"w": torch.zeros(10)}, folder / "source.pt"))
    path = folder / "rewritten.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in source.namelist():
            if name.endswith("data.pkl"):
                archive.writestr(name, index or source.read(name))
                if twice:
                    archive.writestr(name.upper(), index)
            else:
                archive.writestr(name, source.read(name))
    return path


def test_an_index_that_is_there_twice_or_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_tensors(rewritten(tmp_path, b"")).keys() == {"w"}
    with pytest.raises(WeightsError, match="two parts have one name"):
        read_tensors(rewritten(tmp_path, b"", twice=True))
    monkeypatch.setattr(weight_files, "_MAX_INDEX", 10)
    with pytest.raises(WeightsError, match="its index is larger"):
        read_tensors(rewritten(tmp_path, b""))
    monkeypatch.undo()
    with pytest.raises(WeightsError, match="damaged"):
        read_tensors(rewritten(tmp_path, b"\xffnothing"))


def test_the_message_names_what_would_run(tmp_path: Path) -> None:
    path = saved({"w": torch.ones(1), "net": nn.Linear(2, 2)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"nothing in it was run.*torch\.nn\.modules\.linear"):
        read_tensors(path)


def test_what_weights_only_would_let_allocate_is_refused(tmp_path: Path) -> None:
    """torch.load(weights_only=True) runs bytearray(n) for any n."""
    path = saved({"w": torch.ones(1), "big": Payload(bytearray, 1 << 50)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="bytearray"):
        read_tensors(path)
    meta = saved({"w": torch.ones(1 << 40, device="meta")}, tmp_path / "meta.pt")
    with pytest.raises(WeightsError, match="meta"):
        read_tensors(meta)
    with pytest.raises(WeightsError, match="sparse"):
        read_tensors(saved({"w": torch.eye(2).to_sparse()}, tmp_path / "sparse.pt"))


def test_a_safetensors_header_of_any_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 62) + b'{"w":{}}')
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_tensors(path)
    header = b'{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_tensors(path)


def test_an_index_that_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    source = zipfile.ZipFile(saved({"w": torch.zeros(10)}, tmp_path / "w.pt"))
    index = source.read("w/data.pkl")
    claim = index.replace(b"K\x0a", b"J" + struct.pack("<i", 1 << 30))
    assert claim != index
    path = rewritten(tmp_path, claim)
    with pytest.raises(WeightsError, match="damaged"):
        read_tensors(path)


def test_a_file_that_unpacks_to_more_than_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = zipfile.ZipFile(saved({"w": torch.zeros(100_000)}, tmp_path / "w.pt"))
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name))
    assert path.stat().st_size < 10_000
    assert read_tensors(path)["w"].shape == (100_000,)
    monkeypatch.setattr(weight_files, "MAX_BYTES", 100_000)
    with pytest.raises(WeightsError, match="unpacks to more"):
        read_tensors(path)
    with pytest.raises(WeightsError, match="larger than"):
        read_tensors(tmp_path / "w.pt")


def test_files_without_tensors(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no state_dict"):
        read_tensors(saved({"epoch": 3}, tmp_path / "w.pt"))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(WeightsError, match=r"not one of torch\.save"):
        read_tensors(tmp_path / "other.zip")
    with pytest.raises(WeightsError, match=r"cannot be read.*\.safetensors"):
        read_tensors(tmp_path / "none.pt")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_tensors(tmp_path)


@given(st.data())
def test_damage_never_ends_in_anything_but_our_error(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    torch.save({"state_dict": TENSORS}, buffer)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(len(content) // 2, len(content)))]
    path = Path("damaged.pt")
    try:
        found, _ = weight_files._from_zip(path, bytes(content))
    except WeightsError:
        return
    assert found
    assert all(isinstance(tensor, Tensor) for tensor in found.values())
