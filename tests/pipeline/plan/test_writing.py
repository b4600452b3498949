"""The seal is written last, and the first one wins."""

from __future__ import annotations

from typing import Any

from pipeline.plan import find_head, find_or_make_plan, load_plan, read_shard, write_plan
from pipeline.shards.shard_file import ImageClicks, shard_key
from pipeline.shards.shard_table import Shard
from tests.pipeline.plan.job_of import job_of


def test_a_plan_half_written_does_not_count_and_is_written_anew(document: dict[str, Any]) -> None:
    job = job_of(document)
    job.output_store.put(shard_key("", Shard(0, 2, 4, "0" * 64)), b"left by a driver that died")
    assert load_plan(job.output_store) is None
    assert find_head(job.output_store) is None
    plan = find_or_make_plan(job)
    assert len(read_shard(job.output_store, plan, 0)) == 2


def test_the_first_seal_wins(document: dict[str, Any]) -> None:
    job = job_of(document)
    first = find_or_make_plan(job)
    before = read_shard(job.output_store, first, 0)
    images = [ImageClicks("x.png", before[0].objects)]
    assert write_plan(job.output_store, "", {"other": 1}, [], images, 1).fingerprint == first.fingerprint
    assert read_shard(job.output_store, first, 0) == before, "the loser wrote over the winner's shard"
