"""The frozen plan: which images make which shard, and the fingerprint of everything that decides a mask.

`plan/shard-00000-1a2b3c4d.parquet ...` are written first, then their table `plan/shards-5e6f7a8b.parquet`, and
`plan/plan.json` last, so a plan is there whole or not at all. The seal records the digest of the table and the table
that of every shard's file, and each file's name has the first digits of its own: two drivers that plan at the same
time, even for different shards, never write over each other, and the first seal wins. A seal of version 0.1 has the
table in it.

What every shard's work needs is the plan's head alone: a worker is handed a `PlanReference` and with each task one
`Shard`, and fetches the rest from the output itself.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from m2n2.confidence.built_in import BUILT_IN_OF
from pipeline.clicks import ObjectClicks
from pipeline.config import Job
from pipeline.describe import describe
from pipeline.failure import Failure
from pipeline.image_key import outside_root
from pipeline.inputs.categories import read_categories, refuse_unknown_categories
from pipeline.inputs.click_files import find_click_files
from pipeline.inputs.click_table import ClickTable
from pipeline.inputs.identity import ADDED_LATER, differences, fingerprint_of, make_identity
from pipeline.shards.shard_file import ImageClicks, images_of, shard_bytes, shard_key
from pipeline.shards.shard_table import Shard, ShardTable
from pipeline.storage.parquet import DamagedObject, read_parquet
from pipeline.storage.reach import out_of_reach
from pipeline.storage.store import Store

UPLOADS_AT_ONCE = 8
# A run that was begun with an earlier kind of score is finished with it: its masks are the same.
KNOWN_SCORES = (1, *BUILT_IN_OF)


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


def find_or_make_plan(job: Job) -> Plan:
    """The output's plan where there is one, else a new one from the job's clicks.

    Raises:
        PlanMismatch: the output's plan was made for other inputs or settings.
        InvalidClicks: the click files cannot be read as clicks, or have categories that the job does not know.
        InvalidJob: the job's calibration or categories cannot be read.
        InvalidWeights: the weights are not there.
    """
    store = job.output_store
    files = find_click_files(job.click_patterns, Store("", job.storage))
    plan = load_plan(store)
    categories = read_categories(job)
    identity = make_identity(job if plan is None else as_planned(job, plan), files, categories)
    if plan is None:
        with ClickTable(files, Store("", job.storage), job.images_roots) as table:
            refuse_unknown_categories(job, categories, table)
            size = shard_size(job, table.count_images())
            plan = write_plan(store, "", identity, [file.key for file in files], planned_images(job, table), size)
    # Also after writing: another driver may have sealed a plan of its own in the meantime.
    planned_version = plan.identity.get("head_version", ADDED_LATER["head_version"])
    if planned_version != identity["head_version"]:
        raise PlanMismatch(
            f"{store.url('plan/plan.json')}: the plan was made for version {planned_version} of the masks, "
            f"this is version {identity['head_version']}, and a run never mixes them: finish it with the m2n2 that "
            "began it, or choose another output"
        )
    if (planned_scores := score_version(plan)) not in KNOWN_SCORES:
        raise PlanMismatch(
            f"{store.url('plan/plan.json')}: the plan was made for version {planned_scores} of scores, this m2n2 knows "
            f"{', '.join(map(str, KNOWN_SCORES))}: finish it with the m2n2 that began it, or choose another output"
        )
    if found := list(differences(plan.identity, identity | {"score_version": planned_scores})):
        raise PlanMismatch(
            f"{store.url('plan/plan.json')} belongs to another job, and a plan once written is frozen.\n  "
            + "\n  ".join(found)
            + "\nChoose another output, or put back what changed."
        )
    return plan


def as_planned(job: Job, plan: PlanHead) -> Job:
    """The job at its plan's working size, where it does not say one itself: the default of 0.1.0 was 1 megapixel."""
    planned = plan.identity.get("settings", {}).get("working_pixels", job.settings.working_pixels)
    if job.states_working_pixels or planned == job.settings.working_pixels:
        return job
    return job.model_copy(update={"settings": replace(job.settings, working_pixels=planned)})


def planned_images(job: Job, table: ClickTable) -> Iterator[ImageClicks]:
    """Every image with clicks, sorted, the objects of images outside the images root marked as failed."""
    for image, objects in table.by_image():
        yield ImageClicks(image, _checked(job, objects))


def score_version(plan: PlanHead) -> int:
    """Which kind of scores the masks of a plan have: 1 is stability alone, see m2n2/confidence/built_in.py."""
    return int(plan.identity.get("score_version", ADDED_LATER["score_version"]))


def shard_size(job: Job, images: int) -> int:
    """Images a shard: what the job says, or about a minute of work, with a few shards for every worker."""
    if job.shard_images != "auto":
        return job.shard_images
    a_minute_of_work = 128 if job.workers.gpus else 16
    workers = job.workers.count if job.workers.count != "auto" else 1
    return max(8, min(a_minute_of_work, -(-images // (4 * workers))))


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
        shards = ShardTable.from_parquet(_as_sealed(store, key, head.shards_digest), store.url(key))
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
    return images_of(_as_sealed(store, key, shard.sha256), store.url(key))


def _columns(store: Store, plan: PlanHead, shard: Shard, columns: Sequence[str]) -> pa.Table:
    key = shard_key(plan.root, shard)
    return read_parquet(_as_sealed(store, key, shard.sha256), store.url(key), columns)


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


def _as_sealed(store: Store, key: str, sha256: str) -> bytes:
    """A file of the plan, which must have this digest. Raises PlanDamaged."""
    try:
        data = store.read(key)
    except FileNotFoundError as error:
        raise PlanDamaged(f"{store.url(key)}: is gone; the plan was sealed with it") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise PlanDamaged(f"{store.url(key)}: sha256 is {found}, the plan was sealed with {sha256}")
    return data


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


def _checked(job: Job, objects: Sequence[ObjectClicks]) -> tuple[ObjectClicks, ...]:
    """Objects of one image; all of them fail where the image's key leaves the images root."""
    image, allowed = objects[0].image, f"keys below {job.images}"
    if job.allow_images_outside_root:
        problem = out_of_reach(image, [job.images, job.output, *job.click_patterns])
        allowed += ", and addresses of the job's own protocols and hosts"
    else:
        problem = outside_root(image)
    if problem is None:
        return tuple(objects)
    failure = Failure("image_outside_root", f"image {image!r}: {problem}; allowed: {allowed}")
    return tuple(replace(each, failure=failure) for each in objects)


def _chunks(images: Iterable[ImageClicks], size: int) -> Iterator[list[ImageClicks]]:
    chunk: list[ImageClicks] = []
    for image in images:
        chunk.append(image)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
