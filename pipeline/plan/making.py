"""A job's plan: the one that stands in its output, or a new one from its clicks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from m2n2.confidence.built_in import BUILT_IN_OF
from pipeline.clicks import ObjectClicks
from pipeline.config import Job
from pipeline.failure import Failure
from pipeline.image_key import outside_root
from pipeline.inputs.categories import read_categories, refuse_unknown_categories
from pipeline.inputs.click_files import find_click_files
from pipeline.inputs.click_table import ClickTable
from pipeline.inputs.identity import ADDED_LATER, differences, make_identity
from pipeline.plan.sealed import Plan, PlanHead, PlanMismatch, load_plan, score_version
from pipeline.plan.writing import write_plan
from pipeline.shards.shard_file import ImageClicks
from pipeline.storage.reach import out_of_reach
from pipeline.storage.store import Store

# A run that was begun with an earlier kind of score is finished with it: its masks are the same.
KNOWN_SCORES = (1, *BUILT_IN_OF)


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


def shard_size(job: Job, images: int) -> int:
    """Images a shard: what the job says, or about a minute of work, with a few shards for every worker."""
    if job.shard_images != "auto":
        return job.shard_images
    a_minute_of_work = 128 if job.workers.gpus else 16
    workers = job.workers.count if job.workers.count != "auto" else 1
    return max(8, min(a_minute_of_work, -(-images // (4 * workers))))


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
