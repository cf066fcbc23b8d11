from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
import torch
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

import dmic_gym  # noqa: F401
from dmic_gym.codecs import X265Codec
from dmic_gym.codecs.base import Encoded
from dmic_gym.envs.batches import measure_best_batch
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.evaluator import EncodeResult, Evaluator
from dmic_gym.envs.vector_env import CodingVectorEnv
from dmic_gym.errors import EncodeError, InvalidInputError, SegmenterError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.architectures import build
from dmic_gym.tasks.segmenters.network import NetworkSegmenter
from dmic_gym.types import Image
from tests.support import phantoms, texture, vesselness

MIXED = [*phantoms(2, 130), *phantoms(2, (90, 200), seed=1)]
ONE_SHAPE = phantoms(3, 130)


def make(num_envs: int = 4, **kwargs: Any) -> CodingVectorEnv:
    defaults: dict[str, Any] = {"dataset": MIXED, "segmenter": vesselness, "workers": 2}
    if "codec" not in kwargs:
        defaults["preset"] = "ultrafast"
    env: Any = gym.make_vec("CodingEnv-v0", num_envs=num_envs, **(defaults | kwargs))
    assert isinstance(env, CodingVectorEnv)
    return env


def single(**kwargs: Any) -> CodingEnv:
    defaults: dict[str, Any] = {"dataset": MIXED, "segmenter": vesselness, "preset": "ultrafast"}
    return CodingEnv(**(defaults | kwargs))


@pytest.fixture
def env() -> Iterator[CodingVectorEnv]:
    made = make()
    yield made
    made.close()


def actions(env: CodingVectorEnv, seed: int = 0) -> Iterator[npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    while True:
        yield rng.integers(0, len(env.qp_offsets), env.num_envs)


def assert_same(one: Any, other: Any, path: str = "") -> None:
    """Equal to the last bit, in type, order of keys, dtype and shape."""
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert list(one) == list(other), path
        for key in one:
            assert_same(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, tuple):
        for n, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{path}[{n}]")
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), path
        if one.dtype == object:
            for a, b in zip(one, other, strict=True):
                assert_same(a, b, path)
        else:
            np.testing.assert_array_equal(one, other, err_msg=path)
    else:
        assert one == other, path


@pytest.mark.parametrize(("ctu_size", "steps"), [(64, 20), (16, 140)])
def test_same_as_single_environments(ctu_size: int, steps: int) -> None:
    """Seeds, images, observations, bitstreams and rewards, through several episodes."""
    vector = make(3, ctu_size=ctu_size)
    singles = [single(ctu_size=ctu_size) for _ in range(3)]
    observations, _ = vector.reset(seed=11)
    expected = [one.reset(seed=11 + i)[0] for i, one in enumerate(singles)]
    ended = 0
    for _, chosen in zip(range(steps), actions(vector), strict=False):
        for row, own in enumerate(expected):
            assert_same({key: array[row] for key, array in observations.items()}, own)
        observations, rewards, terminated, truncated, infos = vector.step(chosen)
        assert not truncated.any()
        for row, one in enumerate(singles):
            expected[row], reward, over, _, info = one.step(chosen[row])
            assert rewards[row] == pytest.approx(reward, abs=1e-3)
            assert terminated[row] == over
            if over:
                ended += 1
                assert_same(infos["final_obs"][row], expected[row])
                assert infos["final_info"]["bits"][row] == info["bits"]
                assert_same(infos["final_info"]["qp_map"][row], info["qp_map"])
                ours, theirs = vector.results[row], one.result
                assert ours is not None
                assert theirs is not None
                assert ours.encoded.bitstream == theirs.encoded.bitstream
                expected[row] = one.reset()[0]
    assert ended >= 3
    vector.close()


@pytest.mark.parametrize("mode", AutoresetMode)
def test_infos_are_those_of_gymnasium(mode: AutoresetMode) -> None:
    """Against Gymnasium's own vector environment in every autoreset mode, resets and all."""
    kwargs: dict[str, Any] = {
        "dataset": ONE_SHAPE,
        "segmenter": vesselness,
        "preset": "ultrafast",
        "reward": "linear",
    }
    ours = make(3, autoreset_mode=mode, **kwargs)
    theirs: Any = gym.make_vec(
        "CodingEnv-v0",
        num_envs=3,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        **kwargs,
    )
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"]
    assert ours.action_space == theirs.action_space
    assert ours.observation_space == theirs.observation_space
    assert ours.single_observation_space == theirs.single_observation_space
    assert_same(ours.reset(seed=5), theirs.reset(seed=5))
    for _, chosen in zip(range(20), actions(ours), strict=False):
        outcome = ours.step(chosen)
        assert_same(outcome, theirs.step(chosen))
        ended = outcome[2] | outcome[3]
        if mode is AutoresetMode.DISABLED and ended.any():
            masks = [{"reset_mask": ended.copy()} for _ in range(2)]
            assert_same(ours.reset(options=masks[0]), theirs.reset(options=masks[1]))
    mask = np.array([True, False, True])
    assert_same(
        ours.reset(seed=[8, None, 9], options={"reset_mask": mask}),
        theirs.reset(seed=[8, None, 9], options={"reset_mask": mask}),
    )
    assert_same(ours.step([1, 2, 3]), theirs.step(np.array([1, 2, 3])))
    ours.close()
    theirs.close()


def test_a_mode_by_name_or_not_at_all() -> None:
    for name in ("NEXT_STEP", "NextStep"):
        env = make(1, autoreset_mode=name)
        assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
        env.close()
    assert CodingVectorEnv.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    with pytest.raises(InvalidInputError, match="Did you mean 'NEXT_STEP'"):
        make(1, autoreset_mode="NEXTSTEP")


def test_without_autoreset_an_ended_episode_must_be_reset() -> None:
    env = make(3, dataset=[marked(1), *phantoms(1, 130)], autoreset_mode="DISABLED")
    env.reset(options={"sample": [0, 1, 0]})
    _, _, terminated, *_ = env.step([3, 3, 3])
    assert terminated.tolist() == [True, False, True]
    with pytest.raises(gym.error.ResetNeeded, match=r"rows \[0, 2\].*reset_mask"):
        env.step([3, 3, 3])
    env.reset(options={"reset_mask": terminated, "sample": 0})
    env.step([3, 3, 3])
    env.close()


def test_gymnasium_wraps_observations() -> None:
    """Its wrappers of vector observations take every mode but SAME_STEP."""
    wrap = gym.wrappers.vector.FilterObservation  # a VectorObservationWrapper
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED):
        wrapped = wrap(make(2, dataset=[marked(1)], autoreset_mode=mode), ["features"])
        observations, _ = wrapped.reset(seed=0)
        assert list(observations) == ["features"]
        for _ in range(2):
            observations, _, terminated, *_ = wrapped.step(np.array([3, 3]))
            if mode is AutoresetMode.DISABLED:
                wrapped.reset(options={"reset_mask": terminated})
        wrapped.close()


@given(
    sizes=st.lists(
        st.tuples(st.integers(1, 150), st.integers(1, 150)), min_size=1, max_size=3, unique=True
    ),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=8)
def test_any_sizes_side_by_side(sizes: list[tuple[int, int]], seed: int) -> None:
    data = [Sample(texture(size, i), name=str(i)) for i, size in enumerate(sizes)]
    vector = make(2, dataset=data, reward="linear", base_qps=(37,))
    vector.reset(seed=seed)
    ended = []
    for _, chosen in zip(range(10), actions(vector), strict=False):
        running = vector.references
        _, _, terminated, _, infos = vector.step(chosen)
        for row in np.flatnonzero(terminated):
            ended.append(row)
            result = vector.results[row]
            assert result is not None
            assert result.encoded.reconstruction.shape == running[row].sample.image.shape
            assert infos["final_info"]["sample"][row] == running[row].sample.name
            assert infos["final_info"]["qp_map"][row].shape == result.qp_map.shape
    assert set(ended) == {0, 1}
    vector.close()


def test_observations_are_copies(env: CodingVectorEnv) -> None:
    first, _ = env.reset(seed=0)
    kept = {key: array.copy() for key, array in first.items()}
    for chosen, _ in zip(actions(env), range(12), strict=False):
        later, *_, infos = env.step(chosen)
        if "final_obs" in infos:
            last = infos["final_obs"][0]
            frozen = {key: array.copy() for key, array in last.items()}
            break
    assert_same(first, kept)
    env.step(next(actions(env)))
    assert_same(last, frozen)
    for array in later.values():
        array[...] = 0
    fresh, *_ = env.step(next(actions(env)))
    assert fresh["frame"].any()


def test_without_copy_the_buffers_are_reused() -> None:
    env = make(2, copy=False)
    first, _ = env.reset(seed=0)
    second, *_ = env.step([0, 0])
    assert all(np.shares_memory(first[key], second[key]) for key in first)
    env.close()


def test_observations_lie_in_the_space(env: CodingVectorEnv) -> None:
    observations, _ = env.reset(seed=1)
    assert env.observation_space.contains(observations)
    for chosen, _ in zip(actions(env), range(10), strict=False):
        assert env.action_space.contains(chosen)
        observations, *_ = env.step(chosen)
        assert env.observation_space.contains(observations)


class FailingCodec(X265Codec):
    """Fails on images whose first pixel is 77."""

    def encode(self, frames: Any, qp_maps: Any) -> list[Encoded]:
        if frames[0][0, 0] == 77:
            raise EncodeError("no luck")
        return super().encode(frames, qp_maps)


def marked(value: int) -> Sample:
    image = texture((64, 64), seed=value)
    image[0, 0] = value
    return Sample(image, name=str(value))


def test_a_codec_failure_truncates_one() -> None:
    data = [marked(10), marked(77), marked(20)]
    env = make(3, dataset=data, codec=FailingCodec(64, "ultrafast"), reward="linear")
    env.reset(seed=0, options={"sample": [0, 1, 2], "base_qp": 30})
    with pytest.warns(RuntimeWarning, match="EncodeError: no luck"):
        _, rewards, terminated, truncated, infos = env.step([0, 0, 0])
    assert truncated.tolist() == [False, True, False]
    assert terminated.tolist() == [True, False, True]
    assert infos["final_info"]["error"].tolist() == [None, "EncodeError: no luck", None]
    assert np.isnan(infos["final_info"]["bits"]).tolist() == [False, True, False]
    assert rewards[1] == 0
    assert env.results[1] is None
    assert env.results[0] is not None
    env.step([0, 0, 0])
    env.close()


class Picky:
    """Fails on what was coded (the references are known); counts threads and batches."""

    def __init__(self, bad: Sequence[Sample], known: Sequence[Sample]) -> None:
        self.bad = [sample.image for sample in bad]
        self.known = [sample.image for sample in known]
        self.batches: list[int] = []
        self.threads: set[int] = set()

    def __call__(self, images: npt.NDArray[np.uint8], /) -> npt.NDArray[np.float32]:
        self.batches.append(len(images))
        self.threads.add(threading.get_ident())
        for image in images:
            if any(np.array_equal(image, known) for known in self.known):
                continue
            if any(np.abs(image.astype(int) - bad).mean() < 20 for bad in self.bad):
                raise ValueError("cannot look at this")
        return vesselness(images)


class ParallelPicky(Picky):
    in_parallel = True


@pytest.mark.parametrize("kind", [Picky, ParallelPicky])
def test_a_segmenter_failure_truncates_one(kind: type[Picky]) -> None:
    data = [marked(10), Sample(texture((64, 64)) // 4, name="bad"), marked(20)]
    segmenter = kind([data[1]], data)
    env = make(3, dataset=data, segmenter=segmenter, reward="linear", segment_batch=3)
    env.reset(options={"sample": [0, 1, 2], "base_qp": 22})
    with pytest.warns(RuntimeWarning, match="cannot look at this"):
        _, _, terminated, truncated, infos = env.step([3, 3, 3])
    assert truncated.tolist() == [False, True, False]
    assert terminated.tolist() == [True, False, True]
    assert "ValueError: cannot look at this" in infos["final_info"]["error"][1]
    alone = single(dataset=data, segmenter=kind([data[1]], data), reward="linear")
    alone.reset(options={"sample": 1, "base_qp": 22})
    with pytest.warns(RuntimeWarning, match="cannot look at this"):
        _, _, _, cut, info = alone.step(3)
    assert cut
    assert info["error"].startswith("SegmenterError: ")
    env.close()


def test_a_segmenter_is_called_from_one_thread_unless_it_allows_more() -> None:
    shy, bold = Picky([], []), ParallelPicky([], [])
    for segmenter in (shy, bold):
        env = make(4, dataset=ONE_SHAPE, segmenter=segmenter, segment_batch=4)
        env.reset(seed=0)
        for chosen, _ in zip(actions(env), range(9), strict=False):
            env.step(chosen)
        env.close()
    assert shy.threads == {threading.get_ident()}
    assert max(shy.batches) == 4
    assert len(bold.threads - {threading.get_ident()}) == 2
    assert max(bold.batches) == 1


def test_wrong_probabilities_are_the_users_error() -> None:
    def labels(images: npt.NDArray[np.uint8], /) -> npt.NDArray[np.float32]:
        return images.astype(np.float32)

    env = make(2, segmenter=labels)
    with pytest.raises(InvalidInputError, match="sigmoid"):
        env.reset(seed=0)
    with pytest.raises(gym.error.ResetNeeded):
        env.step([0, 0])
    env.close()


def test_an_error_in_a_step_asks_for_a_reset() -> None:
    env = make(2, dataset=[marked(1)], reward=lambda figures, anchors: {"x": 1 / 0})
    env.reset(seed=0)
    with pytest.raises(ZeroDivisionError):
        env.step([0, 0])
    with pytest.raises(gym.error.ResetNeeded):
        env.step([0, 0])
    env.reset(seed=0)
    env.close()


@pytest.mark.parametrize(
    "wrong", [[0, 0], [0, 0, 0, 13], [0, 0, 0, -1], [0.5, 0, 0, 0], [[0, 0, 0, 0]], "abcd"]
)
def test_wrong_actions_change_nothing(env: CodingVectorEnv, wrong: Any) -> None:
    env.reset(seed=0)
    with pytest.raises(InvalidInputError, match="qp_offsets"):
        env.step(wrong)
    after, *_ = env.step([1, 2, 3, 4])
    env.reset(seed=0)
    assert_same(after, env.step([1, 2, 3, 4])[0])


def test_wrong_arguments() -> None:
    for name in ("num_envs", "workers", "segment_batch"):
        with pytest.raises(InvalidInputError, match=name):
            make(**{"num_envs": 2, name: 0})
    with pytest.raises(TypeError, match="colour"):
        make(colour="red")


def test_wrong_resets(env: CodingVectorEnv) -> None:
    with pytest.raises(InvalidInputError, match="list of 4"):
        env.reset(seed=[1, 2])
    with pytest.raises(InvalidInputError, match="one for each"):
        env.reset(options={"sample": [0, 1]})
    with pytest.raises(InvalidInputError, match="reset_mask"):
        env.reset(options={"reset_mask": np.zeros(4, bool)})
    with pytest.raises(InvalidInputError, match="unknown keys"):
        env.reset(options={"samples": 0})
    with pytest.raises(gym.error.ResetNeeded):
        env.step([0, 0, 0, 0])


def test_options_for_all_and_for_each(env: CodingVectorEnv) -> None:
    _, infos = env.reset(options={"sample": 1, "base_qp": [22, 27, 32, 37]})
    assert infos["sample"].tolist() == [MIXED[1].name] * 4
    assert infos["base_qp"].tolist() == [22, 27, 32, 37]
    assert env.episode_base_qps.tolist() == [22, 27, 32, 37]
    assert all(reference.sample is MIXED[1] for reference in env.references)


def test_close_ends_the_threads() -> None:
    before = set(threading.enumerate())
    env = make(4)
    env.reset(seed=0)
    pool = set(threading.enumerate()) - before
    assert pool
    env.close()
    env.close()
    assert not any(thread.is_alive() for thread in pool)
    for call in (lambda: env.step([0] * 4), env.reset):
        with pytest.raises(gym.error.ClosedEnvironmentError):
            call()


def test_torch_threads_stay_as_they_are() -> None:
    before = torch.get_num_threads()
    env = make(
        2, workers=2, segmenter=NetworkSegmenter(build("unet", {"channels": (4, 4)}), device="cpu")
    )
    assert torch.get_num_threads() == before
    pool = env.evaluator._pool
    assert pool is not None
    assert {pool.submit(torch.get_num_threads).result() for _ in range(8)} == {1}
    env.close()


def test_render() -> None:
    env = make(3, render_mode="rgb_array")
    env.reset(seed=0)
    pictures = env.render()
    assert pictures is not None
    assert len(pictures) == 3
    assert all(picture.dtype == np.uint8 and picture.shape[2] == 3 for picture in pictures)
    env.close()


def test_threads_and_batches_change_no_score() -> None:
    codec = X265Codec(64, "ultrafast")
    serial, parallel = (
        Evaluator(codec, vesselness),
        Evaluator(codec, vesselness, workers=2, batch=2),
    )
    references = parallel.references(MIXED)
    rng = np.random.default_rng(0)
    jobs = [(one, rng.integers(20, 45, serial.map_shape(one.sample))) for one in references * 2]
    for one, other in zip(serial.score_all(jobs), parallel.score_all(jobs), strict=True):
        assert isinstance(one, EncodeResult)
        assert isinstance(other, EncodeResult)
        assert one.figures == other.figures
        assert one.encoded.bitstream == other.encoded.bitstream
        assert np.array_equal(one.mask, other.mask)
    parallel.close()


def test_each_anchor_is_encoded_once() -> None:
    class Counting(X265Codec):
        count = 0

        def encode(self, frames: Any, qp_maps: Any) -> list[Encoded]:
            type(self).count += 1
            return super().encode(frames, qp_maps)

    env = make(3, dataset=[marked(1)], codec=Counting(64, "ultrafast"), base_qps=(32,))
    env.reset(seed=0)
    env.step([0, 1, 2])
    anchors = Counting.count - 3
    assert 1 <= anchors <= 14
    env.step([0, 1, 2])
    assert Counting.count == 3 + anchors + 3
    env.close()


def test_best_batch_grows_while_it_pays() -> None:
    clock = [0.0]

    def segment(images: Sequence[Image]) -> None:
        clock[0] += 1.0 + max(0, len(images) - 4)

    assert _measured(segment, clock) == 4


def test_best_batch_stops_where_memory_ends() -> None:
    clock = [0.0]

    def segment(images: Sequence[Image]) -> None:
        if len(images) > 8:
            raise SegmenterError("out of memory")
        clock[0] += 1.0

    assert _measured(segment, clock) == 8


def _measured(segment: Any, clock: list[float]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dmic_gym.envs.batches.time.perf_counter", lambda: clock[0])
        return measure_best_batch(segment, np.zeros((8, 8), np.uint8))
