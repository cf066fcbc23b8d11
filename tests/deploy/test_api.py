"""`dmic_gym.encode` and `decode`: agents, targets, formats and errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

import dmic_gym
from dmic_gym.agents.planning import Plan
from dmic_gym.agents.policy import shipped
from dmic_gym.agents.search.objective import Objective
from dmic_gym.codecs.base import uniform_map
from dmic_gym.codecs.hevc.sps import read_sps
from dmic_gym.deploy import allocation
from dmic_gym.deploy.coder import Coder, Encoding, Settings
from dmic_gym.deploy.decoding import decode_picture
from dmic_gym.deploy.pictures import Picture
from dmic_gym.errors import DecodeError, InvalidInputError, SegmenterError
from dmic_gym.tasks.metrics import expected_dice
from tests.deploy.makers import picture
from tests.support import phantoms, vesselness

FAST: dict[str, Any] = {"preset": "ultrafast", "segmenter": vesselness}
SAMPLE = phantoms(2, 100)[1]


class Checkerboard:
    """A planner whose maps are known: base QP and 6 more in turns."""

    def plan(self, evaluator: Any, reference: Any, base_qp: int) -> Plan:
        rows, cols = evaluator.map_shape(reference.sample)
        qps = np.clip(base_qp + 6 * (np.indices((rows, cols)).sum(0) % 2), 0, 51)
        return Plan(evaluator.score(reference, qps), 1)


@pytest.fixture
def coder() -> Iterator[Coder]:
    with Coder(Settings(agent="anchor", **FAST)) as made:
        yield made


def code(reference: Picture, format: str = "hevc", **settings: Any) -> Encoding:
    with Coder(Settings(**{"agent": "anchor", **FAST, **settings})) as coder:
        return coder.encode(reference, format)


def retained(reference: npt.NDArray[np.uint8], decoded: npt.NDArray[np.uint8]) -> float:
    """Retained Dice as the docstring of `encode` defines it, written out."""
    posterior = vesselness(reference[None])[0].astype(np.float64)

    def expected(image: npt.NDArray[np.uint8]) -> float:
        mask = vesselness(image[None])[0] > 0.5
        return float(2 * posterior[mask].sum() / (mask.sum() + posterior.sum()))

    return min(expected(decoded) / expected(reference), 1.0)


@pytest.mark.parametrize("format", ["hevc", "main", "mp4"])
@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("frames", [1, 2])
def test_decode_returns_what_the_encoder_saw(format: str, bit_depth: int, frames: int) -> None:
    reference = picture((71, 66), bit_depth, frames)
    made = code(reference, format, qp=20)
    decoded = dmic_gym.decode(made.data)
    assert decoded.dtype == reference.samples.dtype
    assert decoded.shape == reference.samples.shape
    np.testing.assert_array_equal(decoded, made.reconstruction.samples)
    np.testing.assert_array_equal(decode_picture(b"".join(made.units)).samples, decoded)


def test_12_bits_are_coded_in_grey_alone() -> None:
    made = code(picture((40, 50), 12), qp=20)
    assert made.reconstruction.bit_depth == 12
    with pytest.raises(InvalidInputError, match="8 or 10 bits"):
        code(picture((40, 50), 12), "mp4")


def test_encode_is_the_coder_in_one_call() -> None:
    made = code(Picture(SAMPLE.image), "mp4", qp=35)
    assert dmic_gym.encode(SAMPLE.image, agent="anchor", qp=35, format="mp4", **FAST) == made.data
    deep = SAMPLE.image.astype(np.uint16) * np.uint16(2)
    for bit_depth in (10, 12):
        data = dmic_gym.encode(deep, agent="anchor", bit_depth=bit_depth, **FAST)
        assert read_sps(data).bit_depth == bit_depth


def test_the_anchor_loads_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "Evaluator", None)
    made = code(Picture(SAMPLE.image), qp=33)
    np.testing.assert_array_equal(made.qp_maps[0], uniform_map(SAMPLE.image.shape, 64, 33))
    assert made.dice is None


@pytest.mark.parametrize("bit_depth", [8, 10, 12])
def test_an_agents_map_is_applied_to_every_depth(bit_depth: int) -> None:
    """Agents see the upper 8 bits; the map they choose codes the deep picture."""
    reference = picture((100, 130), bit_depth, 2)
    made = code(reference, agent=Checkerboard(), qp=22)
    expected = 22 + 6 * (np.indices((2, 3)).sum(0) % 2)
    for qp_map in made.qp_maps:
        np.testing.assert_array_equal(qp_map, expected)
    flat = code(reference, qp=22)
    error = np.abs(made.reconstruction.frames.astype(int) - reference.frames).mean(0)
    flat_error = np.abs(flat.reconstruction.frames.astype(int) - reference.frames).mean(0)
    assert error[:64, 64:128].mean() > 1.15 * flat_error[:64, 64:128].mean()
    assert error[:60, :60].mean() < 1.05 * flat_error[:60, :60].mean()


def test_agents_are_asked_with_each_frame() -> None:
    stack = np.stack([sample.image for sample in phantoms(2, 100)])
    both = code(Picture(stack), agent="search:12", qp=30)
    alone = code(Picture(stack[1]), agent="search:12", qp=30)
    np.testing.assert_array_equal(both.qp_maps[1], alone.qp_maps[0])
    assert not np.array_equal(both.qp_maps[0], both.qp_maps[1])
    assert both.dice is not None
    assert alone.dice is not None
    assert both.dice <= alone.dice


def test_progress_is_told_frame_by_frame(coder: Coder) -> None:
    told: list[tuple[int, int]] = []
    coder.encode(picture((40, 50), frames=3), on_frame=lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_default_agent_is_the_shipped_policy_or_the_anchor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "SHIPPED_POLICIES", tmp_path / "weights")
    assert allocation.default_agent() == "anchor"
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "dmic.safetensors").touch()
    assert allocation.default_agent() == "dmic"


@pytest.mark.parametrize("format", ["hevc", "mp4"])
@pytest.mark.parametrize("target", [0.7, 0.9, 0.97])
def test_target_dice(format: str, target: float) -> None:
    made = code(Picture(SAMPLE.image), format, target_dice=target)
    found = retained(SAMPLE.image, made.reconstruction.eight_bit[0])
    assert made.dice == pytest.approx(found)
    assert found >= target
    next_qp = code(Picture(SAMPLE.image), format, qp=made.qp + 1)
    assert retained(SAMPLE.image, next_qp.reconstruction.eight_bit[0]) < target


def test_of_several_frames_the_lowest_dice_counts() -> None:
    stack = np.stack([sample.image for sample in phantoms(3, 100)])
    made = code(Picture(stack), target_dice=0.9)
    decoded = made.reconstruction.eight_bit
    each = [retained(a, b) for a, b in zip(stack, decoded, strict=True)]
    assert made.dice == pytest.approx(min(each))
    assert made.dice is not None
    assert made.dice >= 0.9


def test_nothing_to_see_is_kept_whole() -> None:
    def blind(images: npt.NDArray[np.uint8], /) -> npt.NDArray[np.float32]:
        return np.zeros(images.shape, np.float32)

    made = code(Picture(SAMPLE.image), target_dice=1.0, segmenter=blind)
    assert (made.dice, made.qp) == (1.0, 51)


@pytest.mark.parametrize("format", ["hevc", "mp4"])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_target_bytes(format: str, share: float) -> None:
    reference = Picture(SAMPLE.image)
    finest, coarsest = (len(code(reference, format, qp=qp).data) for qp in (0, 51))
    target = int(coarsest + share * (finest - coarsest))
    made = code(reference, format, target_bytes=target)
    assert len(made.data) <= target
    assert len(code(reference, format, qp=made.qp - 1).data) > target


def test_generous_targets_give_the_best_and_the_smallest() -> None:
    reference = Picture(SAMPLE.image)
    assert code(reference, target_bytes=10**7).qp == 0
    assert code(reference, target_dice=1e-9).qp == 51


def test_unreachable_targets_name_what_can_be_reached() -> None:
    reference = Picture(SAMPLE.image)
    least = len(code(reference, qp=51).data)
    with pytest.raises(InvalidInputError, match=rf"target_bytes=9 .* Nearest: {least}\."):
        code(reference, target_bytes=9)
    assert len(code(reference, target_bytes=least).data) == least

    def shaky(images: npt.NDArray[np.uint8], /) -> npt.NDArray[np.float32]:
        return np.asarray(images == SAMPLE.image, np.float32)

    with pytest.raises(InvalidInputError, match=r"target_dice=0\.999 .* Nearest: 0\.\d{4}\."):
        code(reference, target_dice=0.999, segmenter=shaky)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"qp": 52}, "outside 0..51. Nearest: 51"),
        ({"target_dice": 0.0}, "outside 0..1"),
        ({"target_dice": 1.5}, "outside 0..1"),
        ({"target_bytes": 0}, "Nearest: 1"),
        ({"target_dice": 0.9, "target_bytes": 900}, "not both"),
        ({"agent": "ancor"}, "Did you mean 'anchor'"),
        ({"agent": "oracle"}, "has none: use search"),
        ({"format": "avi"}, "Unknown format 'avi'"),
        ({"ctu_size": 48}, "Nearest: 64"),
        ({"preset": "fats"}, "Did you mean 'fast'"),
        ({"bit_depth": 9}, "Nearest: 8"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        dmic_gym.encode(SAMPLE.image, **{"agent": "anchor", **FAST, **arguments})


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((50, 50, 3), np.uint8), "looks like colour"),
        (np.zeros((50, 50)), "float64"),
        (np.zeros((1, 5000), np.uint8), "outside 1..4096"),
        ("picture.png", "array"),
    ],
)
def test_wrong_images(image: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        dmic_gym.encode(image, agent="anchor")


def test_a_segmenter_that_fails_is_named() -> None:
    def broken(images: npt.NDArray[np.uint8], /) -> npt.NDArray[np.float32]:
        raise ValueError("no such layer")

    with pytest.raises(SegmenterError, match="no such layer"):
        code(Picture(SAMPLE.image), target_dice=0.9, segmenter=broken)


@pytest.mark.parametrize("data", [b"", b"nothing", b"\0\0\0\x20ftypisom", b"\0\0\1\x40\1"])
def test_decode_refuses_other_bytes(data: bytes) -> None:
    with pytest.raises(DecodeError):
        dmic_gym.decode(data)


def test_decode_wants_bytes() -> None:
    with pytest.raises(InvalidInputError, match="must be bytes, got str"):
        dmic_gym.decode("a.hevc")  # type: ignore[arg-type]


def test_retained_dice_is_that_of_the_objective(coder: Coder) -> None:
    """Our formula and the one that agents are trained on are the same."""
    reference = coder.evaluator.reference(SAMPLE)
    objective = Objective(coder.evaluator, reference, reference.importance, price=0.0)
    trial = objective.try_uniform(40)
    ratio = trial.value / expected_dice(reference.mask, objective.posterior)
    decoded = trial.result.encoded.reconstruction
    assert retained(SAMPLE.image, decoded) == pytest.approx(min(ratio, 1.0))


@pytest.mark.parametrize("fps", [15, 29.97, 0.5])
def test_an_mp4_keeps_its_frame_rate(fps: float, tmp_path: Path) -> None:
    stack = np.stack([sample.image for sample in phantoms(3, 100)])
    data = dmic_gym.encode(stack, agent="anchor", format="mp4", fps=fps, **FAST)
    (tmp_path / "x.mp4").write_bytes(data)
    with av.open(str(tmp_path / "x.mp4")) as video:
        rate = video.streams.video[0].average_rate
        assert rate is not None
        assert float(rate) == pytest.approx(fps, rel=1e-3)
    for wrong in (0, -1, 1001, float("nan")):
        with pytest.raises(InvalidInputError, match=r"outside 0\.\.1000 pictures a second"):
            dmic_gym.encode(stack, agent="anchor", format="mp4", fps=wrong, **FAST)
