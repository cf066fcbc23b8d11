"""Everything of dmic_gym that takes a stranger's bytes, each as a target, by name."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np

from dmic_gym.codecs import X265Codec
from dmic_gym.deploy.decoding import decode_picture
from dmic_gym.deploy.pictures import write_picture
from dmic_gym.deploy.streams import encode_grey
from dmic_gym.errors import DmicError

from .dicoms import dicom, dicom_copy, dicom_enhanced, dicom_video, strangers_dicom
from .media import (
    coded,
    foreign,
    hevc,
    jpeg,
    main10,
    mp4,
    of_files,
    others,
    pgm,
    picture,
    png,
    tiff,
    tiff_deflate,
)
from .targets import Result, Target

_JSON_WORDS = [
    *(b"null", b"[]", b"{}", b"-1", b"1e999", b"NaN", b"true", b'"x"', b"[1,2]", b"9" * 400),
    *(b"100000", b"0", b'"channels"', b"[" * 2000, b"\\ud800", b'"unet"', b'"dilated"'),
]
_TOML_WORDS = [
    *(b"= []", b"= {}", b"= -1", b"= nan", b"= true", b'= ""', b"[a.b]", b"= 1e999", b"= 99999999"),
    *(b'= ["anchor"]', b"= [1, 2, 3]", b"1979-05-27", b"\n[qualities]\n", b"x265 = [1]"),
]


def _small_network(folder: Path) -> Path:
    import torch

    from dmic_gym.tasks.segmenters.architectures import build
    from dmic_gym.tasks.segmenters.weights import Card, save_weights

    torch.manual_seed(0)
    arguments = {"channels": [2, 4], "dilations": [1]}
    card = Card("small", "unet", arguments)
    return save_weights(build("unet", arguments).state_dict(), card, folder)


def _segmented(path: Path) -> Result:
    from dmic_gym.tasks.segmenters.network import load_segmenter

    return load_segmenter(path, "cpu", "float32")(picture(8, (1, 16, 16)).frames)


def card(folder: Path) -> Target:
    """The JSON beside a weights file."""
    path = _small_network(folder).with_suffix(".json")
    return Target([path.read_bytes()], of_files(folder, path.name, _segmented), words=_JSON_WORDS)


def safetensors(folder: Path) -> Target:
    """A weights file whose card agrees with its hash."""
    path = _small_network(folder)
    seed, content = path.read_bytes(), json.loads(path.with_suffix(".json").read_text())

    def read(data: bytes) -> Result:
        path.write_bytes(data)
        honest = {**content, "sha256": hashlib.sha256(data).hexdigest()}
        path.with_suffix(".json").write_text(json.dumps(honest))
        return _segmented(path)

    return Target([seed], read, words=_JSON_WORDS)


def sweep(folder: Path) -> Target:
    """A sweep's definition in TOML."""
    from dmic_gym.bench.definition import Definition

    def read(path: Path) -> Result:
        return np.array([repr(Definition.read(path))])

    others = ("ablation", "transfer")  # of benchmarks/ablation.py and transfer.py
    sweeps = [path for path in sorted(Path("benchmarks").glob("*.toml")) if path.stem not in others]
    seeds = [path.read_bytes() for path in sweeps]
    read_bytes = of_files(folder, "sweep.toml", read)
    return Target(seeds, read_bytes, words=_TOML_WORDS, divisible=True)


def qp_map(_: Path) -> Target:
    """Any array for a QP map: bytes choose its type and shape, then are its values."""
    kinds = ("u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "bool", "c8", "U1", "O")
    made = picture(8, (70, 97))
    image = np.asarray(made.samples, np.uint8)
    codec = X265Codec(64, "ultrafast", {"hash": 1})

    def read(data: bytes) -> Result:
        kind, rows, columns, *values = np.resize(np.frombuffer(data, np.uint8), 16 + len(data))
        given = np.resize(np.array(values, np.uint8), (int(rows) % 4, int(columns) % 4))
        qps = given.astype(kinds[int(kind) % len(kinds)])
        encoded = codec.encode([image], [qps])[0]
        units = encode_grey(made, [qps], preset="ultrafast")
        same = np.array_equal(decode_picture(b"".join(units)).samples, encoded.reconstruction)
        return np.array(
            [same and np.array_equal(codec.decode(encoded.bitstream)[0], encoded.reconstruction)]
        )

    return Target(
        [bytes([0, 2, 2, 30, 31, 32, 33]), bytes([2, 2, 2, *range(48, 55)])],
        read,
        protected=True,
        divisible=True,
    )


def _check_sources(arguments: list[str], originals: dict[Path, bytes]) -> None:
    """Raise where a file that was the source of a command is no longer what it was."""
    for path, data in originals.items():
        if path.name in arguments[1:2] and path.read_bytes() != data:
            path.write_bytes(data)
            raise AssertionError(f"{path.name} was its source and is lost")


def command_line(folder: Path) -> Target:
    """Arguments of `dmic encode` and `decode`, on files that are there."""
    from dmic_gym.cli import main

    write_picture(picture(8, (40, 53)), folder / "in.png")
    write_picture(picture(12, (40, 53)), folder / "deep.pgm")
    (folder / "in.hevc").write_bytes(b"".join(coded(8, False)))
    (folder / "in.dcm").write_bytes(strangers_dicom("MR_small.dcm")[0])
    originals = {path: path.read_bytes() for path in folder.glob("*.*") if path.is_file()}

    def read(data: bytes) -> Result:
        arguments = data.decode(errors="replace").split("\0")
        if arguments[0] not in ("encode", "decode") or any("/" in each for each in arguments):
            return None
        with contextlib.chdir(folder), mock.patch.object(sys, "argv", ["dmic", *arguments]):
            try:
                main()
            except SystemExit as end:
                if end.code in (1, 2):
                    raise DmicError from end
            finally:
                _check_sources(arguments, originals)
        return None

    seeds = (
        "encode in.png out.hevc --agent anchor --preset ultrafast --qp 30 --overwrite",
        "encode in.dcm out.dcm --agent anchor --preset ultrafast --window 600,1600 --overwrite",
        "encode deep.pgm out.hevc --agent anchor --preset ultrafast --overwrite --bit-depth 12",
        "encode in.png out.mp4 --agent anchor --preset superfast --ctu 16 --overwrite --fps 9",
        "decode in.hevc out.tiff --to png --overwrite",
    )
    words = "-1 52 0 99999999 nan 1e999 auto , 1,0 --qp --ctu --window --preset --to --agent --help"
    words += " --target-bytes --target-dice 0.5 --segmenter json:loads none:x --fps --overwrite"
    words += " in.hevc in.png in.dcm . out.png"
    encoded = [seed.replace(" ", "\0").encode() for seed in seeds]
    split = [b"\0" + word.encode() + b"\0" for word in words.split()]
    return Target(encoded, read, words=split, divisible=True, share=0.1)


FORMATS: dict[str, Callable[[Path], Target]] = {
    made.__name__: made
    for made in (
        *(hevc, main10, mp4, foreign, png, jpeg, pgm, tiff, tiff_deflate, others),
        *(dicom, dicom_enhanced, dicom_copy, dicom_video),
        *(card, safetensors, sweep, qp_map, command_line),
    )
}
