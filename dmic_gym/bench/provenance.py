"""What a cell's result depends on, and the hash over it that is the cell's identity."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from typing import Any

import numpy as np

from dmic_gym import __version__
from dmic_gym.agents.planning import ImprovedAgent, SearchAgent, TableAgent
from dmic_gym.agents.recoding import RecodedAgent
from dmic_gym.agents.registry import file_of
from dmic_gym.agents.video_stepping import GopSteppingPlanner
from dmic_gym.bench.cells import Cell, find_still
from dmic_gym.bench.datasets import Source, source_key
from dmic_gym.bench.protocol import PROTOCOL
from dmic_gym.bench.workbench import Workbench
from dmic_gym.codecs.hevc.ffmpeg import FFmpegCodec
from dmic_gym.codecs.hevc.params import LOW_DELAY_P, x265_params
from dmic_gym.codecs.hevc.x265 import X265Codec
from dmic_gym.errors import EncodeError
from dmic_gym.io import qualified_name, source_sha256
from dmic_gym.tasks.segmenters.find import describe_segmenter
from dmic_gym.tasks.segmenters.posterior import posterior_file

_INFO = re.compile(rb"x265 \(build \d+\) - [^:\x00]*")


def provenance(cell: Cell, source: Source, bench: Workbench) -> dict[str, Any]:
    """Return all that decides what a cell comes to, JSON types.

    Names and settings, digests of image and expert mask, of the weights of every network in use
    (of the source file where an object of the user's has no weights), the encoder with its
    version and parameters, the package's version, and `PROTOCOL`.

    Args:
        cell: the settings.
        source: the image or clip that the cell names.
        bench: where the cell would be coded.
    """
    return {**surroundings(cell, source, bench), **_of_agent(cell, bench)}


def surroundings(cell: Cell, source: Source, bench: Workbench) -> dict[str, Any]:
    """Return the provenance that is left when a stored QP map takes the agent's place."""
    return {
        "cell": cell.as_dict(),
        "image": source_key(source).hex(),
        "package": __version__,
        "protocol": PROTOCOL,
        "encoder": _encoder(cell, bench),
        "segmenter": describe_segmenter(bench.evaluator.segmenter),
        "second": describe_segmenter(bench.second.segmenter) if bench.second else None,
    }


def _of_agent(cell: Cell, bench: Workbench) -> dict[str, Any]:
    """Return what the agent brings in, looked up once: weights take a while to hash."""
    if cell.is_still:
        return {"posterior": None, "agent": None}
    key = (cell.agent, cell.seed, cell.gop is not None)
    if key not in bench.agent_provenance:
        agent = bench.planner_of(cell)
        bench.agent_provenance[key] = {
            "posterior": _posterior(agent, bench),
            "agent": _agent(agent),
            **_file(cell.agent),
            **({"decided_with": hevc_version("x265")} if isinstance(agent, RecodedAgent) else {}),
        }
    return bench.agent_provenance[key]


def _encoder(cell: Cell, bench: Workbench) -> dict[str, Any]:
    if cell.is_still:
        return {"version": find_still(cell.codec).version}
    overrides = None if cell.gop is None else LOW_DELAY_P
    params = x265_params(0, cell.ctu_size, overrides).replace("crf=0", "crf=QP")
    return {
        "version": hevc_version(cell.codec),
        "x265_params": params,
        "preset": cell.preset,
        "qp_offsets": list(bench.qp_offsets),
    }


@cache
def hevc_version(codec: str) -> str:
    """Return what x265 says of itself in a stream that it is asked to sign.

    Args:
        codec: ``"x265"`` or ``"ffmpeg"``.
    """
    make = {"x265": X265Codec, "ffmpeg": FFmpegCodec}[codec]
    picture, qps = np.zeros((64, 64), np.uint8), np.full((1, 1), 30)
    stream = make(64, "ultrafast", {"info": 1}).encode_bitstream(picture, qps)
    found = _INFO.search(stream)
    if found is None:
        raise EncodeError(f"The codec {codec!r} does not say which x265 it is.")
    return found.group().decode(errors="replace").strip()


def _posterior(agent: object, bench: Workbench) -> str | None:
    """Return the posterior's hash where the agent asks it; it names its networks by hash."""
    if isinstance(agent, RecodedAgent):
        agent = agent.planner
    if not isinstance(agent, SearchAgent | ImprovedAgent | TableAgent):
        return None
    path = posterior_file(bench.evaluator.segmenter)
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def _agent(agent: Any) -> dict[str, Any] | None:
    """Return the weights or the source of an agent; ours without weights are in the version."""
    if isinstance(agent, GopSteppingPlanner):
        return dict(zip(("frame", "ctu"), map(_agent, agent.agents), strict=True))
    if agent is None:
        return None
    inner = agent
    while isinstance(inner, ImprovedAgent | RecodedAgent):
        inner = inner.planner
    inner = getattr(inner, "agent", inner)
    card = getattr(inner, "card", None)
    if card is not None:
        return {"name": card.name, "sha256": card.sha256}
    policy = getattr(inner, "policy", inner)
    if hasattr(policy, "state_dict"):
        return {"name": qualified_name(inner), "sha256": acting_sha256(policy)}
    if type(inner).__module__.startswith("dmic_gym."):
        return None
    return {"name": qualified_name(inner), "sha256": source_sha256(inner)}


def _file(spec: str) -> dict[str, str]:
    """Return the hash of the file that an agent of the user's own class reads."""
    path = file_of(spec)
    return {} if path is None else {"file": hashlib.sha256(path.read_bytes()).hexdigest()}


def acting_sha256(policy: Any) -> str:
    """Return the SHA-256 of the tensors that decide a policy's actions, hexadecimal.

    The critic is left out: it decides nothing, and one that was not in the file is drawn anew, to
    numbers that depend on the machine.
    """
    from dmic_gym.agents.policy.network import CRITIC  # torch

    digest = hashlib.sha256()
    for name, tensor in sorted(policy.state_dict().items()):
        if not name.startswith(CRITIC):
            digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
