"""QP value tables: the value of each QP in each CTU of an image, for a policy to learn from.

A handful of uniform encodes say what a CTU would contribute to the Dice at each QP, and what it
would cost, were the whole picture coded at that QP: one table for all actions at all base QPs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dmic_gym.agents.search.objective import Objective
from dmic_gym.agents.search.posterior_cache import PosteriorCache
from dmic_gym.agents.search.tables import Tables, build_tables
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.envs.parallel import default_workers, start_pool
from dmic_gym.envs.results import sample_key
from dmic_gym.envs.rewards import bit_price
from dmic_gym.errors import DataError, InvalidInputError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.find import describe_segmenter
from dmic_gym.tasks.segmenters.protocol import segmenter_for
from dmic_gym.types import Floats


@dataclass(frozen=True, eq=False)
class QPValueTable:
    """The table of one image.

    Attributes:
        name: of the image.
        source: digest of what the table was made of: image, expert mask, encoder and segmenter.
        ctu_size: side of a CTU in luma samples.
        pixels: of the image.
        expected_area: pixels of the structure, or the sum of the posterior where no expert has
            drawn it.
        tables: see `Tables`.
    """

    name: str
    source: str
    ctu_size: int
    pixels: int
    expected_area: float
    tables: Tables

    def values(self, base_qp: int, qp_offsets: Sequence[int]) -> Floats:
        """Return the value of each offset in each CTU, float (CTUs, offsets).

        The change of Dice, linearised at the anchor, paid in bits at `bit_price`, less the bits:
        in units of what the anchor spends on an average CTU. Offset 0 has the value 0.
        """
        overlap, area, bits = (
            _interpolated(table, self.tables.qps, base_qp, [0, *qp_offsets])
            for table in (self.tables.overlap, self.tables.area, self.tables.bits)
        )
        total = max(float(area[:, 0].sum()) + self.expected_area, 1.0)
        dice = 2 * float(overlap[:, 0].sum()) / total
        spent = float(bits[:, 0].sum())
        price = bit_price(base_qp) / self.pixels
        values = (2 * overlap - dice * area) / (total * price * spent) - bits / spent
        return np.asarray(len(values) * (values[:, 1:] - values[:, :1]))


def collect_value_tables(
    evaluator: Evaluator,
    samples: Sequence[Sample],
    path: Path,
    on_table: Callable[[int, int], None] = lambda done, total: None,
    workers: int | None = None,
) -> list[QPValueTable]:
    """Fill the tables of each sample by uniform encodes at `TABLE_QPS`.

    Each table is appended to `path` as it is found, so that a run that was stopped goes on
    where it was, and runs with images in common may share the file, one after the other. A sample
    without expert mask is judged by the calibrated posterior.

    Args:
        evaluator: encoder and segmenter.
        samples: images; names must be distinct.
        path: JSON lines, read if it exists.
        on_table: called with the numbers of tables done and in all.
        workers: threads that fill tables; None: one a processor.

    Raises:
        InvalidInputError: two images have one name.
        DataError: the file holds something else.
        CodecError: the codec failed.
    """
    twice = [name for name, times in Counter(s.name for s in samples).items() if times > 1]
    if twice:
        raise InvalidInputError(f"2 images are named {twice[0]!r}: give each its own name.")
    posteriors = PosteriorCache(evaluator.segmenter)
    size = evaluator.codec.ctu_size
    sources = {sample.name: source_of(evaluator, sample) for sample in samples}
    known = {t.name: t for t in _resumed(path) if sources.get(t.name) == t.source}

    def fill(sample: Sample) -> QPValueTable:
        reference = evaluator.reference(sample)
        posterior = posteriors(reference) if sample.mask is None else sample.mask
        objective = Objective(evaluator, reference, posterior, price=0.0)
        tables = build_tables(objective)
        source, area = sources[sample.name], objective.expected_area
        return QPValueTable(sample.name, source, size, sample.image.size, area, tables)

    with start_pool(workers or default_workers()) as pool:
        pending = [pool.submit(fill, sample) for sample in samples if sample.name not in known]
        try:
            for future in as_completed(pending):
                table = future.result()
                known[table.name] = _append(path, table)
                on_table(sum(sample.name in known for sample in samples), len(samples))
        finally:
            pool.shutdown(cancel_futures=True)
    return [known[sample.name] for sample in samples]


def source_of(evaluator: Evaluator, sample: Sample) -> str:
    """Return a digest of all that decides an image's table, hexadecimal."""
    codec, judge = evaluator.codec, segmenter_for(evaluator.segmenter, sample)
    made = (
        getattr(codec, "configuration", repr(codec)),
        codec.ctu_size,
        describe_segmenter(judge)["sha256"],
        sample_key(sample),
    )
    return hashlib.sha256(repr(made).encode()).hexdigest()[:16]


def read_value_tables(path: Path) -> list[QPValueTable]:
    """Read a file of QP value tables; a last line that was cut off is left out.

    Raises:
        DataError: it cannot be read or holds something else.
    """
    try:
        lines = path.read_text().splitlines(keepends=True)
        return [_parsed(line) for line in lines if line.endswith("\n")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a file of QP value tables ({error!r}).") from error


def _interpolated(
    table: Floats, qps: npt.NDArray[np.int16], base_qp: int, qp_offsets: Sequence[int]
) -> Floats:
    """Return a table at some offsets, float (CTUs, offsets), held at its first and last QP."""
    wanted = base_qp + np.asarray(qp_offsets)
    rows = table.reshape(len(qps), -1)
    return np.stack([np.interp(wanted, qps, column) for column in rows.T])


def _resumed(path: Path) -> list[QPValueTable]:
    """Read what a run before has found, and cut off a last line that it did not finish."""
    if not path.exists():
        return []
    tables = read_value_tables(path)
    os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    return tables


def _parsed(line: str) -> QPValueTable:
    content = json.loads(line)
    arrays = {key: np.array(content.pop(key), np.float64) for key in ("overlap", "area", "bits")}
    return QPValueTable(tables=Tables(np.array(content.pop("qps"), np.int16), **arrays), **content)


def _append(path: Path, table: QPValueTable) -> QPValueTable:
    """Write a table; return it with the digits that a resumed run reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {key: value for key, value in vars(table).items() if key != "tables"}
    arrays = {key: array.round(3).tolist() for key, array in vars(table.tables).items()}
    with path.open("a") as file:
        line = json.dumps({**content, **arrays}) + "\n"
        file.write(line)
    return _parsed(line)
