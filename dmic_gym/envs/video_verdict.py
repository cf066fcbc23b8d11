"""What a frame of an episode, and a whole episode, came to."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np

from dmic_gym.envs.evaluator import ToolError
from dmic_gym.envs.results import Figures
from dmic_gym.envs.rewards import Reward, SlopedReward, Terms, paid
from dmic_gym.envs.verdict import Info
from dmic_gym.envs.video_credit import gop_ctu_rewards
from dmic_gym.envs.video_episode import VideoEpisode
from dmic_gym.envs.video_results import FrameResult, GopAnchor, GopResult


@dataclass(frozen=True)
class FrameVerdict:
    """What coding a frame came to.

    Attributes:
        reward: of the step that decided it.
        terminated: whether it was the last one.
        truncated: whether a tool failed.
        info: of that step.
        result: the group's encode after its last frame; else None.
    """

    reward: float
    terminated: bool
    truncated: bool
    info: Info
    result: GopResult | None = None


_NOTHING = Figures(nan, nan, nan, nan, nan, nan)  # type: ignore[arg-type]
"""Of an episode without an encode."""


def judge(reward: Reward, episode: VideoEpisode, frame: FrameResult) -> FrameVerdict:
    """Pay for the frame coded last; after the last frame of all, for what is left.

    Raises:
        CodecError, SegmenterError: an anchor that the reward asks for cannot be made.
    """
    if not episode.session.over:
        return FrameVerdict(
            _pay(episode, share_of(reward, episode, frame.figures)),
            terminated=False,
            truncated=False,
            info=_frame_info(episode, frame),
        )
    result = episode.session.result()
    terms = paid(reward, result.figures, episode.anchors)
    last = _pay(episode, float(sum(terms.values())) - sum(episode.rewards))
    episode.close()
    info = _end_info(episode, result.figures, episode.anchors.base, terms)
    total, base_qp = float(sum(terms.values())), episode.base_qp
    info["ctu_rewards"] = gop_ctu_rewards(
        episode.evaluator, episode.reference, base_qp, reward, total, result
    )
    return FrameVerdict(last, True, False, {**_frame_info(episode, frame), **info}, result)


def failed(episode: VideoEpisode, error: ToolError) -> FrameVerdict:
    """Return the verdict on an episode that a tool's failure has ended."""
    episode.close()
    info = _end_info(episode, _NOTHING, _NOTHING, {})
    info["ctu_rewards"] = np.full(info["qp_maps"].shape, nan, np.float32)
    return FrameVerdict(0.0, False, True, {**info, "error": f"{type(error).__name__}: {error}"})


def share_of(reward: Reward, episode: VideoEpisode, figures: Figures) -> float:
    """Return a frame's share of the group's reward; 0 of rewards that have no shares.

    The share is what its Dice, by the number of frames that count, and its bits gain over those of
    the anchor's frame, at the reward's slopes. Bits are paid alike in all frames: in units of the
    anchor's mean frame, so that the intra frame, which is larger, does not count more.
    """
    if not isinstance(reward, SlopedReward):
        return 0.0
    index = len(episode.rewards)
    anchor, slopes = _anchor(episode), reward.slopes(episode.anchors)
    counted = episode.reference.counted
    base = anchor.frames[index]
    gain = (figures.quality - base.quality) * counted[index] / counted.sum()
    return float(slopes.dice * gain + slopes.bits * (base.bits - figures.bits))


def _pay(episode: VideoEpisode, reward: float) -> float:
    episode.rewards.append(reward)
    return reward


def _anchor(episode: VideoEpisode) -> GopAnchor:
    return episode.evaluator.gop_anchor(episode.reference, episode.base_qp)


def _frame_info(episode: VideoEpisode, frame: FrameResult) -> Info:
    figures = frame.figures
    return {
        "frame": len(episode.rewards) - 1,
        "frame_reward": episode.rewards[-1],
        "frame_bits": float(figures.bits),
        "frame_dice": figures.dice,
        "frame_consistency": figures.consistency_dice,
    }


def _end_info(episode: VideoEpisode, figures: Figures, base: Figures, terms: Terms) -> Info:
    gop, qp_maps = episode.reference.gop, episode.qp_maps
    return {
        "sample": gop.name,
        "clip": gop.clip.name,
        "start": gop.start,
        "base_qp": episode.base_qp,
        "bits": float(figures.bits),
        "slice_bits": float(figures.slice_bits),
        "dice": figures.dice,
        "consistency_dice": figures.consistency_dice,
        "iou": figures.iou,
        "psnr": figures.psnr,
        "anchor_bits": float(base.bits),
        "anchor_dice": base.dice,
        "qp_map": qp_maps,
        "qp_maps": qp_maps,
        "encodes": 1,
        "reward_terms": dict(terms),
        "frame_rewards": np.array(episode.rewards, np.float64),
    }
