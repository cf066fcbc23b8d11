"""Fuzz one format guided by coverage, with atheris (pip install atheris), until told to stop.

    python benchmarks/fuzz_guided.py FORMAT [-max_total_time=120] [other options of libFuzzer]

Where `fuzz.py` counts what random damage does, this looks for inputs that reach new code of
dmic_gym and pydicom. It stops at the first that is neither refused by an error of ours nor right.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["dmic_gym", "pydicom"]):
    from fuzzing.formats import FORMATS


def main() -> None:
    name = sys.argv.pop(1)
    with TemporaryDirectory() as scratch, TemporaryDirectory() as corpus:
        target = FORMATS[name](Path(scratch))
        for index, seed in enumerate(target.seeds):
            (Path(corpus) / str(index)).write_bytes(seed)

        def try_one(data: bytes) -> None:
            verdict, words = target.judge(data)
            if verdict in ("foreign", "wrong"):
                raise AssertionError(f"{verdict}: {words}")

        atheris.Setup([*sys.argv, corpus], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
