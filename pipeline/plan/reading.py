"""What a plan's shards hold, each file compared with the digest that the plan was sealed with."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import pyarrow as pa

from pipeline.plan.sealed import Plan, PlanHead, as_sealed
from pipeline.shards.shard_file import ImageClicks, images_of, shard_key
from pipeline.shards.shard_table import Shard
from pipeline.storage.parquet import read_parquet
from pipeline.storage.store import Store


def planned_categories(store: Store, plan: Plan) -> list[str]:
    """The categories of all planned objects, sorted, whether they have been labelled or not. Raises PlanDamaged."""
    if plan.categories is not None:
        return list(plan.categories)
    found: set[str] = set()
    for shard in plan.shards:
        found.update(_columns(store, plan, shard, ["category"])["category"].unique().to_pylist())
    return sorted(found)


def read_shard(store: Store, plan: Plan, index: int) -> list[ImageClicks]:
    """The images of one shard, in the plan's order. Raises PlanDamaged."""
    return read_images(store, plan, plan.shards[index])


def read_names(store: Store, plan: Plan, index: int) -> pa.Table:
    """The columns image and object of one shard, in the plan's order. Raises PlanDamaged."""
    return _columns(store, plan, plan.shards[index], ["image", "object"])


def shards_up_to(store: Store, plan: Plan, image: str) -> int:
    """How many shards begin with this image or one before it: images stand in their order, over all shards.

    A few shards are read, not all. Raises PlanDamaged.
    """
    first_image = lambda shard: read_names(store, plan, shard)["image"][0].as_py()  # noqa: E731
    return bisect_right(range(len(plan.shards)), image, key=first_image)


def read_images(store: Store, plan: PlanHead, shard: Shard) -> list[ImageClicks]:
    """As `read_shard`, for whoever knows the shard and not all of them."""
    key = shard_key(plan.root, shard)
    return images_of(as_sealed(store, key, shard.sha256), store.url(key))


def _columns(store: Store, plan: PlanHead, shard: Shard, columns: Sequence[str]) -> pa.Table:
    key = shard_key(plan.root, shard)
    return read_parquet(as_sealed(store, key, shard.sha256), store.url(key), columns)
