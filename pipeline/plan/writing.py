"""Writing a plan: the files of its shards, some at once, then its seal."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pipeline.plan.sealed import Plan, seal_plan
from pipeline.shards.shard_file import ImageClicks, shard_bytes, shard_key
from pipeline.shards.shard_table import Shard, ShardTable
from pipeline.storage.store import Store

UPLOADS_AT_ONCE = 8


def write_plan(
    store: Store,
    root: str,
    identity: Mapping[str, Any],
    files: Sequence[str],
    images: Iterable[ImageClicks],
    images_a_shard: int,
) -> Plan:
    """Write the shards, then seal the plan. Returns the plan that is in the store: an earlier seal wins."""
    categories: set[str] = set()
    shards = ShardTable.of(_write_shards(store, root, images, images_a_shard, categories))
    return seal_plan(store, root, identity, files, sorted(categories), shards)


def _write_shards(
    store: Store, root: str, images: Iterable[ImageClicks], images_a_shard: int, categories: set[str]
) -> Iterator[Shard]:
    """Put every shard's file, some at once; gives each shard, and adds its categories to those that are known."""
    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as uploads:
        pending: deque[Future[None]] = deque()
        for index, members in enumerate(_chunks(images, images_a_shard)):
            data = shard_bytes(members)
            objects = sum(len(member.objects) for member in members)
            shard = Shard(index, len(members), objects, hashlib.sha256(data).hexdigest())
            categories.update(each.category for member in members for each in member.objects)
            pending.append(uploads.submit(store.put, shard_key(root, shard), data))
            if len(pending) >= 2 * UPLOADS_AT_ONCE:
                pending.popleft().result()
            yield shard
        for upload in pending:
            upload.result()


def _chunks(images: Iterable[ImageClicks], size: int) -> Iterator[list[ImageClicks]]:
    chunk: list[ImageClicks] = []
    for image in images:
        chunk.append(image)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
