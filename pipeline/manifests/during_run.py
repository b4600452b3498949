"""Manifests while a run goes on: each is made as soon as its thousand shards are done, in a thread of its own."""

from __future__ import annotations

import logging
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from pipeline.describe import describe
from pipeline.manifests.manifest import block_of, blocks, manifest_key, present, shards_of, write_manifest
from pipeline.plan import Plan
from pipeline.storage.store import Store

log = logging.getLogger("m2n2.run")


class ManifestsDuringRun:
    """Makes manifests for as long as the block runs. What it could not make, the run's end makes or says why not.

    It keeps a byte a shard.
    """

    def __init__(self, store: Store, plan: Plan, done: Collection[int]) -> None:
        """`done`: the shards that have their part already."""
        self._store, self._plan = store, plan
        self._left = bytearray(shard not in done for shard in range(len(plan.shards)))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="manifests")

    def __enter__(self) -> ManifestsDuringRun:
        there = present(self._store, self._plan)
        for block in blocks(self._plan):
            if self._is_done(block) and block not in there:
                self._thread.submit(self._write, block)
        return self

    def __exit__(self, *reason: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def add(self, shard: int) -> None:
        """A shard has its part now."""
        if self._left[shard]:
            self._left[shard] = 0
            if self._is_done(block_of(shard)):
                self._thread.submit(self._write, block_of(shard))

    def _is_done(self, block: int) -> bool:
        shards = shards_of(self._plan, block)
        return self._left.find(1, shards.start, shards.stop) < 0

    def _write(self, block: int) -> None:
        try:
            write_manifest(self._store, self._plan, block)
        except Exception as error:
            log.warning("%s is not written yet: %s", manifest_key(self._plan, block), describe(error))
