"""The table of a plan's shards: a sequence of shards in 40 bytes each, and a file that gives the same ones back."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Iterator

import pytest

from pipeline.shards.shard_table import Shard, ShardTable
from pipeline.storage.parquet import DamagedObject


def shards(number: int) -> Iterator[Shard]:
    for index in range(number):
        yield Shard(index, 1 + index % 3, 5 + index % 7, hashlib.sha256(str(index).encode()).hexdigest())


@pytest.mark.parametrize("number", [0, 1, 5000])
def test_it_gives_back_the_shards_that_it_was_made_of_also_from_its_file(number: int) -> None:
    table = ShardTable.of(shards(number))
    assert list(table) == list(shards(number))
    again = ShardTable.from_parquet(table.to_parquet(), "shards.parquet")
    assert again == table
    assert list(again) == list(shards(number))


def test_it_is_a_sequence() -> None:
    table, expected = ShardTable.of(shards(7)), tuple(shards(7))
    assert (len(table), table[0], table[-1], table[2:4]) == (7, expected[0], expected[-1], expected[2:4])
    assert expected[3] in table
    with pytest.raises(IndexError):
        table[7]
    assert table != ShardTable.of(shards(6))


def test_it_knows_what_comes_before_each_shard() -> None:
    table = ShardTable.of(shards(4))
    assert table.images_before.tolist() == [0, 1, 3, 6, 7]
    assert table.objects_before.tolist() == [0, 5, 11, 18, 26]


def test_it_takes_40_bytes_a_shard_of_memory_and_no_more_in_its_file() -> None:
    number = 20_000
    tracemalloc.start()
    try:
        table = ShardTable.of(shards(number))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 50 * number, "a growing buffer may have an eighth to spare"
    assert len(table.to_parquet()) < 40 * number


def test_a_shard_that_is_out_of_order_or_has_no_digest_is_refused() -> None:
    first, second = shards(2)
    for wrong in ([second], [Shard(0, 1, 1, "abc")], [first, first]):
        with pytest.raises(ValueError, match="of the plan: found Shard"):
            ShardTable.of(wrong)


def test_another_file_is_none() -> None:
    with pytest.raises(DamagedObject, match="odd: not readable as Parquet"):
        ShardTable.from_parquet(b"PAR1 is not enough", "odd")
