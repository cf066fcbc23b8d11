from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

from dmic_gym.envs.cache import ByteBoundedCache


def cache(limit: int) -> ByteBoundedCache[bytes]:
    return ByteBoundedCache(limit, len)


def test_a_value_is_computed_once() -> None:
    kept, calls = cache(100), []

    def compute() -> bytes:
        calls.append(1)
        return b"value"

    assert [kept.get("key", compute) for _ in range(3)] == [b"value"] * 3
    assert len(calls) == 1
    assert len(kept) == 1


def test_the_least_recently_used_goes_first() -> None:
    kept = cache(30)
    for key in "abc":
        kept.get(key, lambda: b"." * 10)
    kept.get("a", lambda: b"never")
    kept.get("d", lambda: b"." * 10)
    assert [key for key in "abcd" if key in kept._values] == ["a", "c", "d"]
    assert kept.get("b", lambda: b"again") == b"again"


def test_a_value_beyond_the_bound_is_returned_and_not_kept() -> None:
    kept = cache(5)
    assert kept.get("x", lambda: b"." * 6) == b"." * 6
    assert len(kept) == 0
    kept.get("y", lambda: b"12345")
    assert len(kept) == 1


def test_threads_agree() -> None:
    kept = cache(10_000)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda k: kept.get(k % 20, lambda: b"%d" % (k % 20)), range(400)))
    assert found == [b"%d" % (k % 20) for k in range(400)]
    assert kept._bytes == sum(len(value) for value in kept._values.values())


def test_a_pickle_is_empty_and_works() -> None:
    kept = cache(10)
    kept.get("a", lambda: b"abc")
    made: ByteBoundedCache[bytes] = pickle.loads(pickle.dumps(kept))
    assert len(made) == 0
    assert made.get("a", lambda: b"new") == b"new"
    assert made.max_bytes == 10


def test_what_is_missing_is_computed_in_one_call() -> None:
    cache = ByteBoundedCache[int](100, lambda _: 1)
    cache.get("b", lambda: 20)
    asked: list[list[int]] = []

    def compute(missing: list[int]) -> list[int]:
        asked.append(missing)
        return [10 * (n + 1) for n in missing]

    assert cache.get_all(["a", "b", "c", "a"], compute) == [10, 20, 30, 10]
    assert cache.get_all(["c", "a"], compute) == [30, 10]
    assert asked == [[0, 2]]
