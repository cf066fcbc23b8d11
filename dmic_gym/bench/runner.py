"""Coding every image at every base QP with every agent."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dmic_gym.agents.planning import Planner
from dmic_gym.bench.held_out import HeldOutSegmenter
from dmic_gym.envs.evaluator import TOOL_ERRORS, EncodeResult, Evaluator
from dmic_gym.tasks.data.sample import Sample


@dataclass(frozen=True)
class Row:
    """One image coded by one agent at one base QP.

    Attributes:
        name: of the image.
        base_qp: the anchor's QP.
        bits: of the whole stream.
        slice_bits: of its slices.
        dice: against the expert mask, or None without one.
        consistency_dice: against the segmenter's mask of the reference.
        second_dice: `dice` of the second segmenter, which no agent asks; None without one.
        second_consistency_dice: `consistency_dice` of the second segmenter.
        psnr: dB.
        encodes: spent by the agent on this image, the final one included.
        seconds: wall time of planner, encodes, decodes and segmentations, of those included that an
            earlier row had made.
        qp_map: absolute QPs, one list a CTU row.
        sha256: of the bitstream.
    """

    name: str
    base_qp: int
    bits: int
    slice_bits: int
    dice: float | None
    consistency_dice: float
    second_dice: float | None
    second_consistency_dice: float | None
    psnr: float
    encodes: int
    seconds: float
    qp_map: list[list[int]]
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """Return the row as a dictionary of JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class Run:
    """All rows, by agent, and the images that failed.

    Attributes:
        rows: by agent, images in order, base QPs within an image in order.
        failed: why, by image; such an image is left out of every agent's rows.
    """

    rows: Mapping[str, list[Row]]
    failed: Mapping[str, str]


def run_agents(
    evaluator: Evaluator,
    agents: Mapping[str, Planner],
    samples: Sequence[Sample],
    base_qps: Sequence[int],
    second: HeldOutSegmenter | None = None,
    on_cell: Callable[[str], None] = lambda _: None,
) -> Run:
    """Code `samples` at `base_qps` with `agents`; `on_cell` is called after each row."""
    rows: dict[str, list[Row]] = {name: [] for name in agents}
    failed: dict[str, str] = {}
    for sample in samples:
        try:
            for name, row in _image_rows(evaluator, agents, sample, base_qps, second):
                rows[name].append(row)
                on_cell(name)
        except TOOL_ERRORS as error:
            failed[sample.name] = str(error)
    kept = {name: [row for row in part if row.name not in failed] for name, part in rows.items()}
    return Run(kept, failed)


def _image_rows(
    evaluator: Evaluator,
    agents: Mapping[str, Planner],
    sample: Sample,
    base_qps: Sequence[int],
    second: HeldOutSegmenter | None,
) -> Iterator[tuple[str, Row]]:
    for base_qp in base_qps:
        for name, agent in agents.items():
            yield name, code_image(evaluator, agent, sample, base_qp, second)


def code_image(
    evaluator: Evaluator,
    planner: Planner,
    sample: Sample,
    base_qp: int,
    second: HeldOutSegmenter | None = None,
) -> Row:
    """Let a planner code an image.

    Raises:
        CodecError: the encoder or decoder failed.
        SegmenterError: the segmenter failed.
    """
    reference = evaluator.reference(sample)
    evaluator.anchor(reference, base_qp)  # first-visit cost, kept out of the time below
    begin = time.perf_counter()
    plan = planner.plan(evaluator, reference, base_qp)
    seconds = time.perf_counter() - begin + plan.seconds_saved
    return make_row(sample, base_qp, plan.result, second, encodes=plan.encodes, seconds=seconds)


def make_row(
    sample: Sample,
    base_qp: int,
    result: EncodeResult,
    second: HeldOutSegmenter | None,
    *,
    encodes: int,
    seconds: float,
) -> Row:
    """Return the row of one encode."""
    dice, consistency = (None, None) if second is None else second.dice(sample, result)
    return Row(
        name=sample.name,
        base_qp=base_qp,
        second_dice=dice,
        second_consistency_dice=consistency,
        encodes=encodes,
        seconds=seconds,
        qp_map=result.qp_map.tolist(),
        sha256=hashlib.sha256(result.encoded.bitstream).hexdigest(),
        **asdict(result.figures),
    )
