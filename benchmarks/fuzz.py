"""Damage every kind of file that dmic_gym reads, and count what comes of it.

    python benchmarks/fuzz.py [FORMAT ...] [--count 10000] [--seed 0] [--json FILE]

Each case must end in an error of dmic_gym.errors ("refused"), in the sound picture ("right"), in a
picture with a word that nothing proves it ("told") or, where the format has no checksum, in another
picture ("other"). Anything else is reported by its number, which gives the same input again with
the same seed: an error that is not ours ("foreign"), another picture where a checksum could have
told ("wrong"), a crash, a hang. The cases run in a process of their own, whose address space is
limited.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from fuzzing.campaign import run, work
from fuzzing.formats import FORMATS

from dmic_gym.io import versions_of

_PACKAGES = (
    *("av", "imagecodecs", "numpy", "opencv-python-headless", "pillow", "pydicom", "safetensors"),
    *("tifffile", "torch"),
)


def main() -> int:
    if sys.argv[1:2] == ["--worker"]:
        name, *numbers, journal = sys.argv[2:]
        first, total, seed, memory_mb = map(int, numbers)
        work(name, first, total, seed, memory_mb, Path(journal))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("formats", nargs="*", help=f"of {', '.join(FORMATS)}; none is all")
    parser.add_argument("--count", type=int, default=10_000, help="corruptions of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=int, default=1536, help="MB that a case may take")
    parser.add_argument("--seconds", type=float, default=60.0, help="that a case may take")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    results = {}
    sound = True
    for name in options.formats or FORMATS:
        start = time.monotonic()
        result = run(
            name,
            options.count,
            options.seed,
            memory_mb=options.memory,
            case_seconds=options.seconds,
        )
        results[name] = asdict(result)
        sound &= result.sound
        print(f"{name}: {time.monotonic() - start:.0f} s, {result}", flush=True)
        if options.json:
            settings = {key: getattr(options, key) for key in ("seed", "memory", "seconds")}
            record = {**settings, "versions": versions_of(_PACKAGES), "formats": results}
            options.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
