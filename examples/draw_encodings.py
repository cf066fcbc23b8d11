"""An agent and the anchor at the same number of bytes, as a picture.

python examples/draw_encodings.py encodings.png
python examples/draw_encodings.py one.png --data arcade?split=val --image 7 --agent table --qp 37
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2

from dmic_gym import load_dataset
from dmic_gym.deploy.coder import Coder, Settings, encode_picture
from dmic_gym.deploy.drawing import draw_encodings
from dmic_gym.deploy.pictures import Picture

UNSEEN = "phantoms?count=4&seed=1"
"""Phantoms on which the shipped networks were not trained."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Code an image by both, and write the picture."""
    chosen = _parser().parse_args(arguments)
    sample = load_dataset(chosen.data)[chosen.image]
    picture = Picture(sample.image)
    with Coder(Settings(chosen.agent, chosen.qp, segmenter=chosen.segmenter)) as coder:
        theirs = coder.encode(picture)
        same_size = Settings("anchor", target_bytes=len(theirs.data), segmenter=chosen.segmenter)
        anchor = encode_picture(picture, same_size)
        rows = {f"anchor, QP {anchor.qp}": anchor, f"{chosen.agent}, base QP {theirs.qp}": theirs}
        drawn = draw_encodings(coder, picture, rows, sample.mask)
    cv2.imwrite(str(chosen.out), drawn[:, :, ::-1])
    sizes = f"anchor {len(anchor.data)} bytes, {chosen.agent} {len(theirs.data)} bytes"
    print(f"{sample.name}: {sizes}, wrote {chosen.out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Draw an agent beside the anchor.")
    parser.add_argument("out", type=Path, help="the PNG to write")
    parser.add_argument("--data", default=UNSEEN, help="images, as dmic bench takes them")
    parser.add_argument("--image", type=int, default=3, help="number of the image")
    parser.add_argument("--segmenter", help="name or path; default the shipped U-Net")
    parser.add_argument("--agent", default="search:60", help="any but anchor")
    parser.add_argument("--qp", type=int, default=37, help="base QP of the agent")
    return parser


if __name__ == "__main__":
    main()
