"""What parts a run has: of those that manifests cover from the manifests, of the others from a listing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from pipeline.frozen_parts import AttemptParts, FrozenParts
from pipeline.manifests.manifest import blocks, manifest_rows, present, shards_of
from pipeline.parts import by_shard, part_key
from pipeline.plan import Plan
from pipeline.shards.part_sizes import PartSizes
from pipeline.storage.read_ahead import in_order
from pipeline.storage.store import Store


def freeze_by_manifests(store: Store, attempts: Sequence[Plan]) -> FrozenParts:
    """As `freeze_parts`, but of a thousand shards with a manifest it looks at the manifest alone.

    A part that somebody removed after that is not missed; a run lists all parts and does. `newest` is when the last of
    the listed parts came, or of an attempt whose parts are all covered its last manifest.

    Raises:
        ForeignPart: a manifest was written for another plan.
    """
    return FrozenParts(store, tuple(_frozen(store, plan) for plan in attempts))


def _frozen(store: Store, plan: Plan) -> AttemptParts:
    there = present(store, plan)
    manifests = dict(zip(there, in_order(store.read, [entry.key for entry in there.values()]), strict=True))
    sizes = PartSizes(len(plan.shards))
    for block, data in manifests.items():
        table = manifest_rows(store, plan, block, ["shard", "size"], data)
        sizes.add_all(table["shard"].to_numpy(), table["size"].to_numpy())
    modified = []
    for first, last in _spans(plan, there):
        before = part_key(plan.root, first).removesuffix(".parquet")
        for shard, entry in by_shard(store.listing_between(f"{plan.root}parts", before, part_key(plan.root, last))):
            if shard < len(plan.shards):
                sizes.add(shard, entry.size)
                modified.append(entry.modified)
    modified = modified or [entry.modified for entry in there.values()]
    # Those of later attempts list every object that was tried again, and are fetched when they are read.
    return AttemptParts(plan, sizes, max(modified, default=None), None if plan.root else manifests)


def _spans(plan: Plan, covered: Collection[int]) -> Iterator[tuple[int, int]]:
    """First and last shard wherever shards without a manifest follow one another, all with as many digits.

    In a listing only such follow one another: shard-100000 stands before shard-10001.
    """
    uncovered = [block for block in blocks(plan) if block not in covered]
    firsts = [shards_of(plan, block).start for block in uncovered]
    digits = [len(part_key("", first)) for first in firsts]
    together = [(block - place, length) for place, (block, length) in enumerate(zip(uncovered, digits, strict=True))]
    for _, places in groupby(range(len(uncovered)), key=together.__getitem__):
        span = [uncovered[place] for place in places]
        yield shards_of(plan, span[0]).start, shards_of(plan, span[-1]).stop - 1
