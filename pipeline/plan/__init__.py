"""The frozen plan: which images make which shard, and the fingerprint of everything that decides a mask.

`plan/shard-00000-1a2b3c4d.parquet ...` are written first, then their table `plan/shards-5e6f7a8b.parquet`, and
`plan/plan.json` last, so a plan is there whole or not at all. The seal records the digest of the table and the table
that of every shard's file, and each file's name has the first digits of its own: two drivers that plan at the same
time, even for different shards, never write over each other, and the first seal wins. A seal of version 0.1 has the
table in it.

What every shard's work needs is the plan's head alone: a worker is handed a `PlanReference` and with each task one
`Shard`, and fetches the rest from the output itself.
"""

from pipeline.plan.making import as_planned, find_or_make_plan, planned_images, shard_size
from pipeline.plan.reading import planned_categories, read_images, read_names, read_shard, shards_up_to
from pipeline.plan.sealed import (
    Plan,
    PlanDamaged,
    PlanHead,
    PlanMismatch,
    PlanReference,
    find_head,
    load_head,
    load_plan,
    score_version,
    seal_plan,
)
from pipeline.plan.writing import write_plan

__all__ = [
    "Plan",
    "PlanDamaged",
    "PlanHead",
    "PlanMismatch",
    "PlanReference",
    "as_planned",
    "find_head",
    "find_or_make_plan",
    "load_head",
    "load_plan",
    "planned_categories",
    "planned_images",
    "read_images",
    "read_names",
    "read_shard",
    "score_version",
    "seal_plan",
    "shard_size",
    "shards_up_to",
    "write_plan",
]
