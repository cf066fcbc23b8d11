"""An agent and the anchor at the same number of bytes, as a picture.

python examples/draw_encodings.py encodings.png
python examples/draw_encodings.py encodings.png roi 32
"""

import sys
from pathlib import Path

import cv2

from dmic_gym.deploy.coder import Coder, Settings, encode_picture
from dmic_gym.deploy.drawing import draw_encodings
from dmic_gym.deploy.pictures import Picture
from dmic_gym.tasks.data import Phantoms


def main(out: Path, agent: str = "search:60", qp: str = "37") -> None:
    """Code a phantom by both, and write the picture."""
    sample = Phantoms(count=4, seed=1)[3]  # the shipped networks have not seen it
    picture = Picture(sample.image)
    with Coder(Settings(agent=agent, qp=int(qp))) as coder:
        theirs = coder.encode(picture)
        anchor = encode_picture(picture, Settings(agent="anchor", target_bytes=len(theirs.data)))
        rows = {f"anchor, QP {anchor.qp}": anchor, f"{agent}, base QP {theirs.qp}": theirs}
        drawn = draw_encodings(coder, picture, rows, sample.mask)
    cv2.imwrite(str(out), drawn[:, :, ::-1])
    print(f"anchor {len(anchor.data)} bytes, {agent} {len(theirs.data)} bytes, wrote {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
