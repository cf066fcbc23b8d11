"""Draw the learning curves of one or more training runs.

python benchmarks/learning_curves.py runs/dmic runs/hrlvsc --out learning.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dmic_gym.bench.learning_curves import draw_learning, read_learning
from dmic_gym.bench.style import png
from dmic_gym.io import write_atomically


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="--out folder of pretrain or finetune")
    parser.add_argument("--out", type=Path, default=Path("learning.png"))
    options = parser.parse_args()
    write_atomically(options.out, png(draw_learning(read_learning(options.runs)), dpi=110))
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
