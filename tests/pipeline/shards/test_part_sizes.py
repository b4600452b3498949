"""Which shards have a part, and how large: a mapping that takes 8 bytes a shard."""

from __future__ import annotations

import pytest

from pipeline.shards.part_sizes import PartSizes


def test_it_is_a_mapping_in_the_order_of_the_shards() -> None:
    sizes = PartSizes(5, {4: 40, 1: 10})
    sizes.add(2, 0)
    assert list(sizes.items()) == [(1, 10), (2, 0), (4, 40)]
    assert (len(sizes), sizes[2], sizes.get(3), sizes.missing().tolist()) == (3, 0, None, [0, 3])
    assert [shard in sizes for shard in (-1, 0, 1, 5)] == [False, False, True, False]
    assert sizes.keys() == {1, 2, 4}
    assert sizes.keys() - {1} == {2, 4}
    assert dict(sizes.within(1, 4)) == {1: 10, 2: 0}
    with pytest.raises(KeyError):
        sizes[0]
    with pytest.raises(IndexError):
        sizes.add(5, 1)
