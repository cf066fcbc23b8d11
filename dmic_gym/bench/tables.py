"""Tables of a run, for terminal, HTML and Markdown alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dmic_gym.bench.per_image import featured, point_of
from dmic_gym.bench.protocol import ANCHOR, LEVELS, METRIC, UNUSABLE, Results

Lines = Mapping[str, Results]

FIGURE_NAMES: Mapping[str, str] = {
    "bits": "Bits",
    "slice_bits": "payload bits",
    "dice": METRIC,
    "second_dice": f"{METRIC}, 2nd network",
    "consistency_dice": f"Consistency {METRIC}",
    "iou": "J (IoU)",
    "psnr": "PSNR in dB",
}
"""What figures are called, by key of the points."""

_MEASURES = {
    METRIC: None,
    "J": "iou",
    "2nd network": "second",
    "Consistency": "consistency",
    "Payload": "slices",
    "PSNR": "psnr",
}
"""Columns of BD-rates, and the key of each comparison (None: the headline itself)."""

_POINTS = (("bits", "slice_bits"), ("dice", "second_dice"), ("consistency_dice", "psnr"))
_CLIP_POINTS = (("bits", "slice_bits"), ("dice", "iou"), ("consistency_dice", "psnr"))


@dataclass(frozen=True)
class Entry:
    """One cell of a table.

    Attributes:
        text: in full.
        detail: below it and smaller, a line or two.
        note: below that: what has to be known of the figure.
        tone: ``"gain"``, ``"none"`` (undefined) or nothing.
    """

    text: str
    detail: str = ""
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        heading: what it is.
        note: how to read it.
        columns: headings; the first column names the row, the others are numbers.
        rows: of equal length.
        accent: the first cell of the row to be set apart.
    """

    heading: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Entry]]
    accent: str | None = None


def bd_tables(results: Results) -> list[Table]:
    """Return BD-rates for each set of base QPs and of still codecs, and bits at equal quality."""
    agents, stills = results["agents"], results["stills"]
    sets = {
        qps_of(results, key): {name: of_set(results, part, key) for name, part in agents.items()}
        for key in results["protocol"]["qp_sets"]
    }
    tables = [_bd_table(results, heading, "Agent", lines) for heading, lines in sets.items()]
    tables.append(_bd_table(results, "Constant quality, all points", "Codec", stills))
    tables.append(_level_table(results))
    accent = featured(results)
    return [replace(table, accent=accent) for table in tables if table.rows]


def of_set(results: Results, part: Results, qp_set: str) -> Results:
    """Return an agent's figures over a set of base QPs; those of a run's first stand above."""
    first = next(iter(results["protocol"]["qp_sets"]))
    found: Results = part if qp_set == first else part[qp_set]
    return found


def qps_of(results: Results, qp_set: str) -> str:
    """Return a set of base QPs in words."""
    return "QP " + ", ".join(str(qp) for qp in results["protocol"]["qp_sets"][qp_set])


def _bd_table(results: Results, heading: str, kind: str, lines: Lines) -> Table:
    measures = _given(results, _MEASURES)
    rivals = results["protocol"]["compare"] if kind == "Agent" else []
    columns = [*measures, *(f"minus {rival}" for rival in rivals)]
    compared: list[str | None] = [None]
    if _is_clips(results):
        compared.append("consistency")
        columns += [f"consistency minus {rival}" for rival in rivals]
    rows = [
        [
            _name(name),
            *(bd_entry(_part(part, key)) for key in measures.values()),
            *(
                _difference(_part(part, key)["against"].get(rival))
                for key in compared
                for rival in rivals
            ),
        ]
        for name, part in lines.items()
        if name != ANCHOR
    ]
    iou = "on J (IoU), " if _is_clips(results) else ""
    note = (
        f"BD-rate against the anchor on {METRIC}, {iou}on that of a second network, on {METRIC} "
        "against the network's own mask, without headers, and on PSNR; negative saves bits; below, "
        "95 % intervals."
    )
    if rivals:
        note += (
            f" Minus: difference of two BD-rates on {METRIC} in percentage points, both on the "
            "same resamples."
        )
    return Table(f"BD-rate, {heading}", note, [kind, *columns], rows)


def _part(part: Results, key: str | None) -> Results:
    return part if key is None else part[key]


def _is_clips(results: Results) -> bool:
    return "gop" in results["protocol"]


def _given(results: Results, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of which the results say something; older ones lack some."""
    known = {None, *results["agents"][ANCHOR]}
    if results["protocol"]["second_segmenter"] is None:
        known.discard("second")
    return {name: key for name, key in columns.items() if key in known}


def _level_table(results: Results) -> Table:
    rivals, middle = results["protocol"]["compare"], str(LEVELS[1])
    lines = {
        name: part["bits_at"]["dice"]
        for name, part in (results["agents"] | results["stills"]).items()
    }
    columns = [*(f"{level} %" for level in LEVELS), *(f"{middle} % minus {r}" for r in rivals)]
    rows = [
        [
            _name(name),
            *(_level_entry(name, levels[str(level)]) for level in LEVELS),
            *(_difference(_against(name, levels[middle], rival)) for rival in rivals),
        ]
        for name, levels in lines.items()
    ]
    note = (
        f"Change of the bits at a share of the anchor's best {METRIC}, over all points of the run; "
        "below, 95 % intervals and the bits."
    )
    return Table(
        f"Bits at 99, 97 and 95 % of the anchor's {METRIC}", note, ["Line", *columns], rows
    )


def _name(name: str) -> Entry:
    return Entry(name, "knows the expert mask" if name.startswith(UNUSABLE) else "")


def bd_entry(part: Results) -> Entry:
    """Return a BD-rate with its interval; a gain is one whose interval lies below 0."""
    return _entry(part["bd_rate_percent"], part["ci95"], part["bd_rate_note"])


def _level_entry(name: str, part: Results) -> Entry:
    found = _entry(part["percent"], part["ci95"], part["note"])
    if part["bits"] is None:
        return found
    bits = f"{part['bits']:,.0f} bits"
    if name == ANCHOR:
        return Entry(bits)
    return replace(found, detail=f"{found.detail}\n{bits}" if found.detail else bits)


def _against(name: str, part: Results, rival: str) -> Results | None:
    found: Results | None = None if name == ANCHOR else part.get("against", {}).get(rival)
    return found


def _difference(part: Results | None) -> Entry:
    if part is None:
        return Entry("-", "", "", "none")
    return _entry(part["points"], part["ci95"], part["note"], unit="")


def _entry(
    value: float | None, bounds: Sequence[float] | None, note: str, unit: str = " %"
) -> Entry:
    if value is None:
        return Entry("undefined", "", note.removeprefix("undefined: "), "none")
    tone = "gain" if bounds is not None and bounds[1] < 0 else ""
    return Entry(f"{signed(value)}{unit}", interval(bounds), note, tone)


def signed(value: float) -> str:
    """Format with one decimal and a true minus sign."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def interval(bounds: Sequence[float] | None) -> str:
    """Format an interval; none is empty."""
    return "" if bounds is None else f"{signed(bounds[0])} to {signed(bounds[1])}"


def point_tables(results: Results, pairs: Sequence[tuple[str, str]] | None = None) -> list[Table]:
    """Return a table of two figures at each operating point, for agents and for still codecs.

    Args:
        results: of one data set and encoder.
        pairs: for each table the figure and, below it, a second one; None takes the usual ones.
    """
    if pairs is None:
        pairs = _CLIP_POINTS if _is_clips(results) else _POINTS
    kinds = (("Agent", results["agents"]), ("Codec", results["stills"]))
    return [_point_table(kind, lines, *pair) for pair in pairs for kind, lines in kinds if lines]


def _point_table(kind: str, lines: Lines, figure: str, second: str) -> Table:
    count = max(len(part["points"]) for part in lines.values())
    settings = next(iter(lines.values()))["points"]
    columns = [f"QP {point_of(p)}" for p in settings] if kind == "Agent" else [""] * count
    rows = [
        [Entry(name), *(_point(point, figure, second) for point in part["points"])]
        + [Entry("")] * (count - len(part["points"]))
        for name, part in lines.items()
    ]
    note = f"Means over images; below, {FIGURE_NAMES[second]}."
    return Table(f"{FIGURE_NAMES[figure]} at each point", note, [kind, *columns], rows)


def _point(point: Results, figure: str, second: str) -> Entry:
    setting = "" if "base_qp" in point else f"quality {point['quality']}: "
    if point[figure] is None:
        return Entry("-", setting, "", "none")
    return Entry(figure_text(figure, point[figure]), setting + figure_text(second, point[second]))


def figure_text(figure: str, value: float | None) -> str:
    """Format a figure as suits it; None is a dash."""
    if value is None:
        return "-"
    if figure.endswith("bits"):
        return f"{value:,.0f}"
    return f"{value:.2f}" if figure == "psnr" else f"{value:.4f}"


def cost_table(results: Results) -> Table:
    """Return encodes and time per image, means over images and base QPs."""
    rows = [
        [
            Entry(name),
            Entry(f"{_mean(part, 'encodes'):,.0f}"),
            Entry(f"{_mean(part, 'seconds'):.3f}"),
        ]
        for name, part in (results["agents"] | results["stills"]).items()
    ]
    note = (
        "Means over images and points. Processor time of deciding, coding, decoding and segmenting "
        "one image at one point."
    )
    return Table("Time", note, ["Line", "Encodes per image", "Seconds per image"], rows)


def _mean(line: Results, key: str) -> float:
    return sum(float(point[key]) for point in line["points"]) / len(line["points"])


def notes(results: Results) -> list[str]:
    """Return what has to be known of the images to read the tables."""
    left_out = results["protocol"]["left_out_empty_mask"]
    lines = [f"left out, expert mask empty: {', '.join(left_out)}"] if left_out else []
    return lines + [f"left out: {name}: {why}" for name, why in results["failed"].items()]


def title(results: Results) -> str:
    """Return what was coded, in one line."""
    from dmic_gym.bench.cells import encoder_name

    protocol = results["protocol"]
    encoder = encoder_name(protocol["codec"], protocol["preset"], protocol["ctu_size"])
    count, what, gop = protocol["images"], "image", ""
    if _is_clips(results):
        what, gop = "clip", f", {protocol['gop']} frames a group"
    return f"{protocol['data']}: {count} {what}{'s' * (count != 1)}, {encoder}{gop}"
