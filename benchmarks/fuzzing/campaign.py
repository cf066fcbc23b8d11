"""Running cases in a process that may crash, hang or eat memory, and going on after it."""

from __future__ import annotations

import faulthandler
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from .formats import FORMATS
from .mutations import mutate
from .targets import Target, Verdict

VERDICTS: tuple[str, ...] = get_args(Verdict)
_NEXT = len(VERDICTS)
_PEAK = _NEXT + 1
_SLOTS = _PEAK + 1


@dataclass
class EncodeResult:
    """What came of a campaign against one format.

    Attributes:
        cuts: how many inputs were beginnings of a sound one.
        corruptions: how many were damaged at random.
        verdicts: cases by verdict.
        crashes: cases that ended the process, with the signal.
        hangs: cases that took longer than they may.
        peak_mb: the most memory that a case took beyond what was in use before the first.
        foreign: first cases by the words of an error that is not of our tree.
        wrong: first cases whose picture was another than the sound one.
    """

    cuts: int
    corruptions: int
    verdicts: dict[str, int] = field(default_factory=dict)
    crashes: list[str] = field(default_factory=list)
    hangs: list[int] = field(default_factory=list)
    peak_mb: float = 0.0
    foreign: dict[str, int] = field(default_factory=dict)
    wrong: list[int] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether every case gave a clear error or a right result."""
        return not (self.crashes or self.hangs or self.foreign or self.wrong)


def case(target: Target, seed: int, index: int) -> tuple[bytes, bool]:
    """Return a case's input and whether it is a cut: first every cut, then corruptions."""
    if index < target.cuts:
        return target.seeds[0][:index], True
    rng = np.random.default_rng([seed, index])
    return mutate(target.seeds[index % len(target.seeds)], rng, target.words), False


def run(name: str, count: int, seed: int, *, memory_mb: int, case_seconds: float) -> EncodeResult:
    """Run every cut and `count` corruptions of a format, each process until it dies or is done."""
    with TemporaryDirectory() as folder:
        journal = Path(folder) / "journal"
        slots = np.memmap(journal, np.int64, "w+", shape=(_SLOTS,))
        target = FORMATS[name](Path(folder))
        result = EncodeResult(target.cuts, round(count * target.share))
        total = result.cuts + result.corruptions
        while (first := int(slots[_NEXT])) < total:
            command = [sys.executable, sys.argv[0], "--worker", name, str(first), str(total)]
            command += [str(seed), str(memory_mb), str(journal)]
            with (Path(folder) / "stderr").open("wb") as stderr:
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
                hung = _watch(process, slots, total, case_seconds)
            index = int(slots[_NEXT])
            if hung:
                result.hangs.append(index)
            elif index < total:
                words = (Path(folder) / "stderr").read_text(errors="replace")
                result.crashes.append(f"case {index}: exit {process.returncode}: {words[-400:]}")
            slots[_NEXT] = max(index, first) + (index < total)
        result.verdicts = dict(zip(VERDICTS, slots[:_NEXT].tolist(), strict=True))
        result.peak_mb = round(int(slots[_PEAK]) / 1024, 1)
        _collect(result, journal)
    return result


def _watch(
    process: subprocess.Popen[bytes], slots: npt.NDArray[Any], total: int, case_seconds: float
) -> bool:
    """Wait for the end of a process; kill it, and return True, when it stays with one case."""
    seen, since = -1, time.monotonic()
    while process.poll() is None:
        time.sleep(0.2)
        now, index = time.monotonic(), int(slots[_NEXT])
        if index != seen:
            seen, since = index, now
        elif now - since > case_seconds + (60 if seen == 0 else 0):
            process.kill()
            process.wait()
            return index < total
    return False


def _collect(result: EncodeResult, journal: Path) -> None:
    notes = journal.with_suffix(".notes")
    for line in notes.read_text().splitlines() if notes.exists() else []:
        index, _, words = line.partition(" ")
        if words:
            result.foreign.setdefault(words, int(index))
        else:
            result.wrong.append(int(index))


def work(name: str, first: int, total: int, seed: int, memory_mb: int, journal: Path) -> None:
    """Run cases in this process, writing down each before it starts."""
    faulthandler.enable()
    slots = np.memmap(journal, np.int64, "r+", shape=(_SLOTS,))
    with TemporaryDirectory() as folder, journal.with_suffix(".notes").open("a") as notes:
        target = FORMATS[name](Path(folder))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with _limited(memory_mb):
            for index in range(first, total):
                slots[_NEXT] = index
                data, cut = case(target, seed, index)
                verdict, words = target.judge(data, cut=cut)
                slots[VERDICTS.index(verdict)] += 1
                if verdict in ("foreign", "wrong"):
                    notes.write(f"{index} {' '.join(words.split())[:200]}".rstrip() + "\n")
                    notes.flush()
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
                slots[_PEAK] = max(int(slots[_PEAK]), peak)
        slots[_NEXT] = total


@contextmanager
def _limited(memory_mb: int) -> Iterator[None]:
    """Allow this process only so much more address space than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    allowed = pages * resource.getpagesize() + (memory_mb << 20)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
