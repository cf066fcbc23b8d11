"""A clip coded by an agent beside the anchor at about the same number of bits.

python examples/draw_clip.py clip.mp4
python examples/draw_clip.py dog.mp4 --data davis --clip 7 --agent cap --qp 27

Writes the video, and beside it a PNG of five frames.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2

from dmic_gym import X265Codec, load_segmenter
from dmic_gym.agents.video_registry import make_gop_planner
from dmic_gym.deploy import clip_drawing as drawing
from dmic_gym.envs.video_evaluator import VideoEvaluator
from dmic_gym.tasks.registry import task_of


def main(arguments: Sequence[str] | None = None) -> None:
    """Code a clip by both, and write the pictures."""
    chosen = _parser().parse_args(arguments)
    task = task_of(chosen.data, chosen.segmenter)
    clip = task.load_clips()[chosen.clip]
    evaluator = VideoEvaluator(X265Codec(chosen.ctu), load_segmenter(task.segmenter))
    agent, anchor = (make_gop_planner(spec, evaluator) for spec in (chosen.agent, "anchor"))
    theirs = drawing.code(evaluator, agent, clip, chosen.qp, chosen.gop)
    plain = drawing.nearest_in_bits(evaluator, anchor, clip, theirs.bits, chosen.gop)
    name = chosen.agent if len(chosen.agent) <= 24 else "agent"  # paths would not fit
    rows = {f"anchor QP {plain.base_qp}": plain, f"{name} QP {theirs.base_qp}": theirs}
    truth = drawing.truth_of(evaluator, clip, chosen.gop)
    frames = [drawing.draw_pair(rows, truth, index) for index in range(len(clip))]
    drawing.write_video(frames, chosen.out)
    strip = chosen.out.with_suffix(".png")
    cv2.imwrite(str(strip), drawing.draw_strip(rows, truth)[:, :, ::-1])
    for title, coded in rows.items():
        print(f"{clip.name}, {title}: {coded.bits} bits, Dice {coded.quality:.3f}")
    print(f"wrote {chosen.out} and {strip}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Draw a clip of an agent beside the anchor's.")
    parser.add_argument("out", type=Path, help="the MP4 to write")
    parser.add_argument("--data", default="phantom-clips", help="clips, as dmic bench takes them")
    parser.add_argument("--clip", type=int, default=0, help="number of the clip")
    parser.add_argument("--segmenter", help="name or path; default the one that fits the clips")
    parser.add_argument("--agent", default="cap", help="any that codes clips")
    parser.add_argument("--qp", type=int, default=27, help="base QP of the agent")
    parser.add_argument("--ctu", type=int, default=32, help="CTU size")
    parser.add_argument("--gop", type=int, default=10, help="frames in a group")
    return parser


if __name__ == "__main__":
    main()
