"""A plan as it is sealed: its head, the table of its shards, and reading both back as they were written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.describe import describe
from pipeline.inputs.identity import ADDED_LATER, fingerprint_of
from pipeline.shards.shard_table import Shard, ShardTable
from pipeline.storage.parquet import DamagedObject
from pipeline.storage.store import Store


class PlanMismatch(ValueError):
    """The output holds a plan of another job: the message names every difference."""


class PlanDamaged(PlanMismatch):
    """A shard of the plan is not the one that the plan was sealed with."""


@dataclass(frozen=True)
class PlanReference:
    """Which plan is meant, for whoever fetches it from the output: where it is, and the digests that it must have."""

    root: str
    fingerprint: str
    shards_digest: str


@dataclass(frozen=True)
class PlanHead:
    """A sealed plan without its shards.

    Attributes:
        root: key prefix below the output: "" for the first attempt, "attempts/2/" for the next.
        fingerprint: sha256 of `identity`.
        identity: what decides the masks: click files, images root, settings, backbone, weights, schema version; and
            the categories that the job gave identifiers.
        files: the click files that `file` numbers of clicks refer to.
        shards_digest: sha256 of what the shards hold: the same job cut into other shards has another.
    """

    root: str
    fingerprint: str
    identity: Mapping[str, Any]
    files: Sequence[str]
    shards_digest: str

    @property
    def reference(self) -> PlanReference:
        """What a worker is given of it."""
        return PlanReference(self.root, self.fingerprint, self.shards_digest)


@dataclass(frozen=True)
class Plan(PlanHead):
    """A sealed plan.

    Attributes:
        shards: all of them, in their order.
        categories: of all objects, sorted; None in a plan of version 0.1, see `planned_categories`.
    """

    shards: ShardTable
    categories: Sequence[str] | None = None

    @property
    def objects(self) -> int:
        """Objects in all shards."""
        return int(self.shards.objects_before[-1])

    @property
    def images(self) -> int:
        """Images in all shards."""
        return int(self.shards.images_before[-1])


def load_plan(store: Store, root: str = "") -> Plan | None:
    """The sealed plan below `root`, or None where there is none (shards without a seal do not count).

    Raises:
        DamagedObject: what is there is no plan.
        PlanDamaged: the table of its shards is gone, or is not the one that it was sealed with.
    """
    sealed = _read_seal(store, root)
    if sealed is None:
        return None
    head, shards, categories = sealed
    if shards is None:
        key = _table_key(root, head.shards_digest)
        shards = ShardTable.from_parquet(as_sealed(store, key, head.shards_digest), store.url(key))
    return Plan(head.root, head.fingerprint, head.identity, head.files, head.shards_digest, shards, categories)


def load_head(store: Store, reference: PlanReference) -> PlanHead:
    """The plan that is meant, without its shards. Raises PlanDamaged where it is gone or another; DamagedObject."""
    head = find_head(store, reference.root)
    if head is None or head.reference != reference:
        found = "is gone" if head is None else f"is another one now, {head.fingerprint}"
        raise PlanDamaged(f"{store.url(_seal_key(reference.root))}: {found}; expected {reference.fingerprint}")
    return head


def find_head(store: Store, root: str = "") -> PlanHead | None:
    """As `load_plan`, without the plan's shards. Raises DamagedObject."""
    sealed = _read_seal(store, root)
    return sealed[0] if sealed else None


def seal_plan(
    store: Store,
    root: str,
    identity: Mapping[str, Any],
    files: Sequence[str],
    categories: Sequence[str],
    shards: ShardTable,
) -> Plan:
    """Seal a plan whose shards are written. Returns the plan that is in the store: an earlier seal wins."""
    table = shards.to_parquet()
    digest = hashlib.sha256(table).hexdigest()
    store.put_new(_table_key(root, digest), table)
    document = {
        "fingerprint": fingerprint_of(identity),
        "identity": identity,
        "files": list(files),
        "categories": list(categories),
        "shards": {
            "sha256": digest,
            "shards": len(shards),
            "images": int(shards.images_before[-1]),
            "objects": int(shards.objects_before[-1]),
        },
    }
    store.put_new(_seal_key(root), json.dumps(document, indent=1).encode())
    sealed = load_plan(store, root)
    assert sealed is not None, "the plan that was just written is gone"
    return sealed


def score_version(plan: PlanHead) -> int:
    """Which kind of scores the masks of a plan have: 1 is stability alone, see m2n2/confidence/built_in.py."""
    return int(plan.identity.get("score_version", ADDED_LATER["score_version"]))


def as_sealed(store: Store, key: str, sha256: str) -> bytes:
    """A file of the plan, which must have this digest. Raises PlanDamaged."""
    try:
        data = store.read(key)
    except FileNotFoundError as error:
        raise PlanDamaged(f"{store.url(key)}: is gone; the plan was sealed with it") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise PlanDamaged(f"{store.url(key)}: sha256 is {found}, the plan was sealed with {sha256}")
    return data


def _seal_key(root: str) -> str:
    return f"{root}plan/plan.json"


def _table_key(root: str, digest: str) -> str:
    return f"{root}plan/shards-{digest[:8]}.parquet"


def _read_seal(store: Store, root: str) -> tuple[PlanHead, ShardTable | None, Sequence[str] | None] | None:
    """A plan's head, its shards where they stand in the seal, and its categories; None where there is no seal."""
    try:
        document = json.loads(store.read(_seal_key(root)))
        listed, shards = document["shards"], None
        if isinstance(listed, list):
            shards = ShardTable.of(Shard(**shard) for shard in listed)
            digest = hashlib.sha256("".join(shard["sha256"] for shard in listed).encode()).hexdigest()
        else:
            digest = listed["sha256"]
        head = PlanHead(root, document["fingerprint"], document["identity"], document["files"], digest)
        return head, shards, document.get("categories")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedObject(f"{store.url(_seal_key(root))}: not a plan: {describe(error)}") from error
