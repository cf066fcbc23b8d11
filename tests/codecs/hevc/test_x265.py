from __future__ import annotations

import copy
import hashlib
import multiprocessing
import os
import pickle
import resource
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmic_gym.codecs import CTU_SIZES, Codec, X265Codec, uniform_map
from dmic_gym.codecs.hevc import encoder_pool
from dmic_gym.codecs.hevc.encoder_pool import EncoderKey, EncoderPool, KeptEncoder
from dmic_gym.codecs.hevc.nal import nal_units
from dmic_gym.codecs.hevc.params import PRESETS
from dmic_gym.codecs.hevc.pool import IdlePool
from dmic_gym.errors import DmicError, EncodeError, InvalidInputError
from tests.support import ANCHOR, Image, plain_x265, random_map, texture


@pytest.mark.parametrize("preset", ["ultrafast", "medium"])
@pytest.mark.parametrize("ctu_size", CTU_SIZES)
def test_a_uniform_map_is_a_plain_x265_run(ctu_size: int, preset: str) -> None:
    with X265Codec(ctu_size, preset) as codec:
        for qp, shape in [(0, (64, 64)), (22, (131, 97)), (37, (100, 160)), (51, (75, 300))]:
            image = texture(shape, qp)
            encoded = codec.encode([image], [uniform_map(shape, ctu_size, qp)])[0]
            assert encoded.bitstream == plain_x265(image, qp, ctu_size, preset)


def test_a_padded_picture_differs_from_a_plain_run_only_in_the_crop() -> None:
    image = texture((40, 50))
    padded = np.pad(image, ((0, 24), (0, 14)), mode="edge")
    plain = plain_x265(padded, 30, 64, "medium")
    with X265Codec(64) as codec:
        encoded = codec.encode([image], [uniform_map(image.shape, 64, 30)])[0]
        np.testing.assert_array_equal(encoded.reconstruction, codec.decode(plain)[0, :40, :50])
    ours, theirs = (
        [stream[unit.start : unit.end] for unit in nal_units(stream)]
        for stream in (encoded.bitstream, plain)
    )
    assert [a == b for a, b in zip(ours, theirs, strict=True)] == [True, False, True, True]


# Shape, CTU size, preset, seed of image and map, whether the map is uniform.
Step = tuple[tuple[int, int], int, str, int, bool]
steps = st.tuples(
    st.sampled_from([(64, 64), (1, 1), (40, 90), (130, 67)]),
    st.sampled_from(CTU_SIZES),
    st.sampled_from(["ultrafast", "superfast", "medium"]),
    st.integers(0, 3),
    st.booleans(),
)


def arguments(step: Step) -> tuple[Image, npt.NDArray[Any]]:
    shape, ctu_size, _, seed, uniform = step
    if uniform:
        return texture(shape, seed), uniform_map(shape, ctu_size, 30 + seed)
    return texture(shape, seed), random_map(shape, ctu_size, seed, 28, 34)


def streams(history: Iterable[Step]) -> list[bytes]:
    return [X265Codec(step[1], step[2]).encode_bitstream(*arguments(step)) for step in history]


@settings(max_examples=25)
@given(st.lists(steps, min_size=2, max_size=10))
def test_what_came_before_does_not_matter(history: list[Step]) -> None:
    kept = streams(history)
    with pytest.MonkeyPatch.context() as patch:
        for step, stream in zip(history, kept, strict=True):
            patch.setattr(encoder_pool, "_pool", IdlePool(KeptEncoder))
            assert streams([step]) == [stream]


@pytest.mark.parametrize("ctu_size", CTU_SIZES)
@pytest.mark.parametrize("preset", ["ultrafast", "medium"])
def test_the_frame_counter_does_not_show(
    preset: str, ctu_size: int, fresh_pool: EncoderPool
) -> None:
    """x265 marks pictures by their count modulo 31; 70 pictures of one encoder are equal."""
    image, qps = texture((64, 70)), random_map((64, 70), ctu_size, 1, 30, 40)
    codec = X265Codec(ctu_size, preset)
    assert len({codec.encode_bitstream(image, qps) for _ in range(70)}) == 1
    assert [kept._count for _, kept in fresh_pool._idle] == [70]


def test_a_map_leaves_no_trace_in_the_next_picture() -> None:
    image = texture((130, 130))
    anchor = plain_x265(image, 32, 64, "ultrafast")
    with X265Codec(64, "ultrafast") as codec:
        for seed in range(3):
            qps = random_map(image.shape, 64, seed, 32, 51)
            qps.flat[:6] = 32  # slice QP 32, so the same encoder is used
            assert codec.encode_bitstream(image, qps) != anchor
            assert codec.encode_bitstream(image, uniform_map(image.shape, 64, 32)) == anchor


def digest_of_many(_: int = 0) -> str:
    digest = hashlib.sha256()
    for ctu_size in CTU_SIZES:
        for preset in ("ultrafast", "medium"):
            codec = X265Codec(ctu_size, preset)
            for seed in range(3):
                encoded = codec.encode(
                    [texture((70, 90), seed)], [random_map((70, 90), ctu_size, seed)]
                )[0]
                digest.update(encoded.bitstream + encoded.reconstruction.tobytes())
    return digest.hexdigest()


def test_same_bytes_in_every_process() -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        assert set(pool.map(digest_of_many, range(2))) == {digest_of_many()}


def test_a_forked_child_encodes_with_encoders_of_its_own() -> None:
    codec, image, qps = X265Codec(64, "ultrafast"), texture((64, 64)), np.array([[30]])
    expected = hashlib.sha256(codec.encode_bitstream(image, qps)).digest()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, hashlib.sha256(codec.encode_bitstream(image, qps)).digest())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == expected
    assert os.waitpid(child, 0)[1] == 0


def test_threads_share_a_codec() -> None:
    work = [(texture((90, 100), s), random_map((90, 100), 32, s, 30, 32)) for s in range(24)]
    with X265Codec(32, "ultrafast") as codec, ThreadPoolExecutor(6) as threads:
        frames, qp_maps = zip(*work, strict=True)
        serial = codec.encode(frames, qp_maps)
        parallel = list(threads.map(lambda item: codec.encode([item[0]], [item[1]])[0], work))
    for one, other in zip(serial, parallel, strict=True):
        assert one.bitstream == other.bitstream
        np.testing.assert_array_equal(one.reconstruction, other.reconstruction)


def test_threads_may_meet_in_the_first_encode(fresh_pool: EncoderPool) -> None:
    image, qps = texture((64, 64)), np.array([[33]])

    def first_encode(_: int) -> bytes:
        return X265Codec(64, "veryfast", {"hash": 1}).encode([image], [qps])[0].bitstream

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(first_encode, range(8)))) == 1


def test_a_closed_codec_refuses(fresh_pool: EncoderPool) -> None:
    image, qps = texture((64, 64)), np.array([[33]])
    codec, other = X265Codec(64, "ultrafast"), X265Codec(64, "superfast")
    stream = codec.encode([image], [qps])[0].bitstream
    other.encode([image], [qps])
    codec.close()
    assert {key.preset for key, _ in fresh_pool._idle} == {"superfast"}
    for _ in range(2):
        with pytest.raises(EncodeError, match="closed: make a new X265Codec"):
            codec.encode([image], [qps])
        codec.close()
    assert codec.decode(stream).shape == (1, 64, 64)
    assert X265Codec(64, "ultrafast").encode([image], [qps])[0].bitstream == stream


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, copy.copy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_pickle_and_copy_by_arguments(duplicate: Any) -> None:
    image, qps = texture((70, 70)), random_map((70, 70), 32)
    codec = X265Codec(32, "veryfast", {"hash": 1})
    stream = codec.encode([image], [qps])[0].bitstream
    made = duplicate(codec)
    assert isinstance(made, X265Codec)
    assert made.configuration == codec.configuration
    codec.close()
    assert made.encode([image], [qps])[0].bitstream == stream


def test_it_is_a_codec() -> None:
    assert isinstance(X265Codec(), Codec)
    assert repr(X265Codec(32, "slow")) == "X265Codec(ctu_size=32, preset='slow')"


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"ctu_size": 60}, "Nearest: 64"),
        ({"ctu_size": 8}, "Nearest: 16"),
        ({"preset": "mediun"}, "Did you mean 'medium'"),
        ({"preset": None}, "Valid: "),
    ],
)
def test_bad_arguments_name_the_nearest(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        X265Codec(**kwargs)


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_encodes(preset: str) -> None:
    image, qps = texture((130, 100)), random_map((130, 100), 64)
    with X265Codec(64, preset) as codec:
        assert codec.encode([image], [qps])[0].reconstruction.shape == image.shape


def test_a_parameter_that_x265_refuses_is_an_encode_error() -> None:
    with pytest.raises(EncodeError, match=r"x265 refused a \(64, 128\) image at preset 'medium'"):
        X265Codec(64, x265_params={"bframes": 99}).encode([texture((64, 64))], [np.array([[30]])])


def test_an_encoder_that_fails_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, fresh_pool: EncoderPool
) -> None:
    image, qps = texture((64, 64)), np.array([[33]])
    codec = X265Codec(64, "ultrafast")
    stream = codec.encode([image], [qps])[0].bitstream
    kept = list(fresh_pool._idle)

    def fail(*_: Any) -> bytes:
        raise av.error.ExternalError(1, "broken on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(KeptEncoder, "encode", fail)
        with pytest.raises(EncodeError, match="broken on purpose") as caught:
            codec.encode([image], [qps])
    assert isinstance(caught.value, DmicError)
    assert isinstance(caught.value.__cause__, av.FFmpegError)
    assert not set(kept) & set(fresh_pool._idle) or len(kept) > 1
    assert codec.encode([image], [qps])[0].bitstream == stream


def test_the_pool_is_bounded() -> None:
    pool = IdlePool(KeptEncoder, max_idle=3, max_idle_pixels=5 * 64 * 64)
    keys = [EncoderKey((64, 64), "ultrafast", ANCHOR.format(qp=qp, ctu=64)) for qp in range(5)]
    for key in keys:
        with pool.lend(key):
            pass
    assert [key for key, _ in pool._idle] == keys[2:]
    with pool.lend(keys[2]) as oldest:
        assert oldest.key == keys[2]
    assert [key for key, _ in pool._idle] == [keys[3], keys[4], keys[2]]
    wide = EncoderKey((64, 192), "ultrafast", ANCHOR.format(qp=9, ctu=64))
    with pool.lend(wide):
        pass
    assert [key for key, _ in pool._idle] == [keys[4], keys[2], wide]


def test_an_encoder_serves_one_at_a_time() -> None:
    pool = IdlePool(KeptEncoder)
    key = EncoderKey((64, 64), "ultrafast", ANCHOR.format(qp=30, ctu=64))
    with pool.lend(key) as one, pool.lend(key) as other:
        assert one is not other
    with pool.lend(key) as again:
        assert again is one


@pytest.mark.slow
def test_memory_stays_flat_over_many_encodes() -> None:
    codec = X265Codec(64, "ultrafast")
    image = texture((200, 200))

    def encode(count: int) -> int:
        for seed in range(count):
            codec.encode([image], [random_map(image.shape, 64, seed, 30, 38)])
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = encode(150)
    assert encode(600) - before < 4_000  # kB


@pytest.mark.skipif("DMIC_DATA" not in os.environ, reason="DMIC_DATA is not set")
def test_the_anchor_on_real_angiograms_is_a_plain_x265_run() -> None:
    from dmic_gym.tasks.data import ImageFolder

    folder = ImageFolder(Path(os.environ["DMIC_DATA"]) / "angiograms" / "train")
    with X265Codec() as codec:
        for sample, qp in zip(folder[:4], (22, 27, 32, 37), strict=True):
            encoded = codec.encode([sample.image], [uniform_map(sample.image.shape, 64, qp)])[0]
            assert encoded.bitstream == plain_x265(sample.image, qp, 64, "medium")
