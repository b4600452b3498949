from __future__ import annotations

from m2n2.kernels.bounded_cache import BoundedCache


def test_what_was_used_longest_ago_is_forgotten() -> None:
    cache: BoundedCache[str, int] = BoundedCache(limit_bytes=30)
    for number, key in enumerate("abc"):
        cache.put(key, number, 10)
    assert cache.get("a") == 0
    cache.put("d", 3, 10)
    assert cache.get("b") is None
    assert [cache.get(key) for key in "acd"] == [0, 2, 3]


def test_replacing_does_not_count_twice() -> None:
    cache: BoundedCache[str, int] = BoundedCache(limit_bytes=30)
    cache.put("a", 0, 10)
    for number in range(5):
        cache.put("b", number, 20)
    assert (cache.get("a"), cache.get("b")) == (0, 4)


def test_the_newest_is_kept_however_large() -> None:
    cache: BoundedCache[str, int] = BoundedCache(limit_bytes=5)
    cache.put("a", 0, 1)
    cache.put("b", 1, 100)
    assert cache.get("a") is None
    assert cache.get("b") == 1
