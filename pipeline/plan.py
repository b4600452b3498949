"""The frozen plan: which images make which shard, and the fingerprint of everything that decides a mask.

`plan/shard-00000-1a2b3c4d.parquet ...` are written first and `plan/plan.json` last, so a plan is there whole or not at
all. It records the digest of every shard file, and the file's name has its first digits: two drivers that plan at the
same time, even for different shards, never write over each other, and the first seal wins.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from m2n2.confidence.built_in import SCORE_VERSION
from pipeline.clicks import CLICK, ObjectClicks
from pipeline.config import Job
from pipeline.describe import describe
from pipeline.failure import Failure
from pipeline.image_key import outside_root
from pipeline.inputs.categories import read_categories, refuse_unknown_categories
from pipeline.inputs.click_files import find_click_files
from pipeline.inputs.click_table import ClickTable
from pipeline.inputs.identity import ADDED_LATER, differences, fingerprint_of, make_identity
from pipeline.storage.parquet import DamagedObject, read_parquet
from pipeline.storage.reach import out_of_reach
from pipeline.storage.store import Store

SHARD = pa.schema(
    [
        ("image", pa.string()),
        ("object", pa.string()),
        ("category", pa.string()),
        ("clicks", pa.list_(CLICK)),
        ("reason", pa.string()),
        ("message", pa.string()),
    ]
)
# Only in shards with boxes: any other stays what it was, to the byte.
BOX = "box"
SHARD_WITH_BOXES = SHARD.append(pa.field(BOX, pa.list_(pa.float64(), 4)))
UPLOADS_AT_ONCE = 8
# A run that was begun with an earlier kind of score is finished with it: its masks are the same.
KNOWN_SCORES = (1, SCORE_VERSION)


class PlanMismatch(ValueError):
    """The output holds a plan of another job: the message names every difference."""


class PlanDamaged(PlanMismatch):
    """A shard of the plan is not the one that the plan was sealed with."""


@dataclass(frozen=True)
class ImageClicks:
    """One image of a shard: its key and its objects, all of them, failed ones included."""

    image: str
    objects: tuple[ObjectClicks, ...]


@dataclass(frozen=True)
class Shard:
    """What plan.json knows of a shard."""

    index: int
    images: int
    objects: int
    sha256: str


@dataclass(frozen=True)
class Plan:
    """A sealed plan.

    Attributes:
        root: key prefix below the output: "" for the first attempt, "attempts/2/" for the next.
        fingerprint: sha256 of `identity`.
        identity: what decides the masks: click files, images root, settings, backbone, weights, schema version; and
            the categories that the job gave identifiers.
        files: the click files that `file` numbers of clicks refer to.
        categories: of all objects, sorted; None in a plan of version 0.1, see `planned_categories`.
    """

    root: str
    fingerprint: str
    identity: Mapping[str, Any]
    files: Sequence[str]
    shards: Sequence[Shard]
    categories: Sequence[str] | None = None

    @property
    def objects(self) -> int:
        """Objects in all shards."""
        return sum(shard.objects for shard in self.shards)

    @property
    def images(self) -> int:
        """Images in all shards."""
        return sum(shard.images for shard in self.shards)

    @cached_property
    def shards_digest(self) -> str:
        """sha256 of what the shards hold: the same job cut into other shards has another."""
        return hashlib.sha256("".join(shard.sha256 for shard in self.shards).encode()).hexdigest()


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


def as_planned(job: Job, plan: Plan) -> Job:
    """The job at its plan's working size, where it does not say one itself: the default of 0.1.0 was 1 megapixel."""
    planned = plan.identity.get("settings", {}).get("working_pixels", job.settings.working_pixels)
    if job.states_working_pixels or planned == job.settings.working_pixels:
        return job
    return job.model_copy(update={"settings": replace(job.settings, working_pixels=planned)})


def planned_images(job: Job, table: ClickTable) -> Iterator[ImageClicks]:
    """Every image with clicks, sorted, the objects of images outside the images root marked as failed."""
    for image, objects in table.by_image():
        yield ImageClicks(image, _checked(job, objects))


def score_version(plan: Plan) -> int:
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
    shards: list[Shard] = []
    categories: set[str] = set()
    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as uploads:
        pending: list[Future[None]] = []
        for index, members in enumerate(_chunks(images, images_a_shard)):
            data = _shard_bytes(members)
            objects = sum(len(member.objects) for member in members)
            shards.append(Shard(index, len(members), objects, hashlib.sha256(data).hexdigest()))
            categories.update(each.category for member in members for each in member.objects)
            pending.append(uploads.submit(store.put, shard_key(root, shards[-1]), data))
            if len(pending) >= 2 * UPLOADS_AT_ONCE:
                pending.pop(0).result()
        for upload in pending:
            upload.result()
    return seal_plan(store, root, identity, files, sorted(categories), shards)


def seal_plan(
    store: Store,
    root: str,
    identity: Mapping[str, Any],
    files: Sequence[str],
    categories: Sequence[str],
    shards: Iterable[Shard],
) -> Plan:
    """Seal a plan whose shards are written. Returns the plan that is in the store: an earlier seal wins."""
    document = {
        "fingerprint": fingerprint_of(identity),
        "identity": identity,
        "files": list(files),
        "categories": list(categories),
        "shards": [asdict(shard) for shard in shards],
    }
    store.put_new(f"{root}plan/plan.json", json.dumps(document, indent=1).encode())
    sealed = load_plan(store, root)
    assert sealed is not None, "the plan that was just written is gone"
    return sealed


def load_plan(store: Store, root: str = "") -> Plan | None:
    """The sealed plan below `root`, or None where there is none (shards without a seal do not count)."""
    try:
        document = json.loads(store.read(f"{root}plan/plan.json"))
        shards = tuple(Shard(**shard) for shard in document["shards"])
        categories = document.get("categories")
        return Plan(root, document["fingerprint"], document["identity"], document["files"], shards, categories)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedObject(f"{store.url(root)}plan/plan.json: not a plan: {describe(error)}") from error


def planned_categories(store: Store, plan: Plan) -> list[str]:
    """The categories of all planned objects, sorted, whether they have been labelled or not. Raises PlanDamaged."""
    if plan.categories is not None:
        return list(plan.categories)
    found: set[str] = set()
    for shard in plan.shards:
        table = read_parquet(_shard_data(store, plan, shard), store.url(shard_key(plan.root, shard)), ["category"])
        found.update(table["category"].unique().to_pylist())
    return sorted(found)


def read_shard(store: Store, plan: Plan, index: int) -> list[ImageClicks]:
    """The images of one shard, in the plan's order. Raises PlanDamaged."""
    data = _shard_data(store, plan, plan.shards[index])
    images: dict[str, list[ObjectClicks]] = {}
    for row in read_parquet(data, store.url(shard_key(plan.root, plan.shards[index]))).to_pylist():
        failure = Failure(row["reason"], row["message"]) if row["reason"] else None
        box = row.get(BOX)
        clicks = ObjectClicks(
            row["image"], row["object"], row["category"], row["clicks"], failure, tuple(box) if box else None
        )
        images.setdefault(row["image"], []).append(clicks)
    return [ImageClicks(image, tuple(objects)) for image, objects in images.items()]


def read_names(store: Store, plan: Plan, index: int) -> pa.Table:
    """The columns image and object of one shard, in the plan's order. Raises PlanDamaged."""
    data, shard = _shard_data(store, plan, plan.shards[index]), plan.shards[index]
    return read_parquet(data, store.url(shard_key(plan.root, shard)), ["image", "object"])


def shard_key(root: str, shard: Shard) -> str:
    """The key of a shard's plan below the output."""
    return f"{root}plan/shard-{shard.index:05d}-{shard.sha256[:8]}.parquet"


def _shard_data(store: Store, plan: Plan, shard: Shard) -> bytes:
    key = shard_key(plan.root, shard)
    try:
        data = store.read(key)
    except FileNotFoundError as error:
        raise PlanDamaged(f"{store.url(key)}: is gone; the plan was sealed with it") from error
    found = hashlib.sha256(data).hexdigest()
    if found != shard.sha256:
        raise PlanDamaged(f"{store.url(key)}: sha256 is {found}, the plan was sealed with {shard.sha256}")
    return data


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


def _shard_bytes(images: Sequence[ImageClicks]) -> bytes:
    rows = [
        {
            "image": each.image,
            "object": each.object,
            "category": each.category,
            "clicks": list(each.clicks),
            "reason": each.failure.reason if each.failure else None,
            "message": each.failure.message if each.failure else None,
            BOX: each.box,
        }
        for image in images
        for each in image.objects
    ]
    sink = pa.BufferOutputStream()
    schema = SHARD_WITH_BOXES if any(row[BOX] for row in rows) else SHARD
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data
