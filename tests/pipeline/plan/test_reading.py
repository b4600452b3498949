"""Shards are read as they were sealed, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.plan import PlanDamaged, find_or_make_plan, read_shard
from pipeline.shards.shard_file import shard_key
from tests.pipeline.plan.job_of import job_of


def test_a_shard_that_somebody_overwrote_is_found_out(document: dict[str, Any]) -> None:
    job = job_of(document)
    plan = find_or_make_plan(job)
    first, second = (shard_key("", shard) for shard in plan.shards[:2])
    job.output_store.put(second, job.output_store.read(first))
    with pytest.raises(PlanDamaged, match=r"shard-00001-[0-9a-f]{8}\.parquet: sha256 is"):
        read_shard(job.output_store, plan, 1)
