"""How many cores keep up with a worker's GPU: decode, resize and refinement are the CPU's.

The CPU's seconds are measured (`python -m benchmarks.head --cores`; the table is in docs/backbones.md), the GPU's are
reckoned from data sheets (m2n2/kernels/gpu/traffic.py), for Stable Diffusion 2 and its kin.
"""

from __future__ import annotations

import math
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from m2n2.kernels.gpu.traffic import CARDS, FLOAT_BYTES, HALF_BYTES, TYPICAL_STEPS, TYPICAL_SWEEPS, Case, milliseconds
from pipeline.config import Job
from pipeline.failure import BadImage
from pipeline.plan import Plan, read_shard
from pipeline.storage.refusals import UnusableStorage
from pipeline.storage.retry import StoreUnavailable
from pipeline.worker.image_size import read_size

KIN = ("sd2", "sd2.1", "sd-turbo", "sd1.5")
DEFAULT_GRID = 128
# Core-seconds, within an eighth of the table's column "beside others": decode and resize, refinement, full size, rows.
AN_IMAGE, A_MEGAPIXEL = 0.033, 0.027
A_CLICK_AND_WORKING_MEGAPIXEL, AN_OBJECT_AND_MEGAPIXEL = 0.027, 0.009
DRIVING = 1.0  # the thread that gives the GPU its work and waits for it
NOTHING_RECKONED = (  # where there are no `Cores`, for people
    "nothing was reckoned: this backbone or device is not known, or none of the images looked at could be read"
)
SHARDS_LOOKED_AT, IMAGES_OF_A_SHARD, AT_ONCE = 8, 4, 4


@dataclass(frozen=True)
class Need:
    """What a card asks of a worker's CPU: images a second that were reckoned for it, and the cores that these take."""

    card: str
    images_per_s: float
    cores: int


@dataclass(frozen=True)
class Cores:
    """What an image takes of the CPU.

    Attributes:
        megapixels, clicks: of an image: the sample's median, and the mean.
        core_seconds: of an image, without those that drive the GPU.
        given: cores that the job gives a worker; "auto": those of its card's need, or all that a node has beside a GPU.
        needs: of the cards, or of the share of one that a worker has.
    """

    megapixels: float
    clicks: float
    core_seconds: float
    given: float | Literal["auto"]
    needs: tuple[Need, ...]

    @property
    def short(self) -> tuple[Need, ...]:
        """Needs that are not met."""
        return () if self.given == "auto" else tuple(need for need in self.needs if need.cores > self.given)


def cores_beside_gpu(job: Job, pixels: int, clicks: float, objects: float) -> Cores | None:
    """What images of so many pixels, clicks and objects take; None where no GPU is asked or no rate was reckoned."""
    if not _is_reckoned(job):
        return None
    from m2n2.full_size import working_pixels  # brings numba, which a plan needs for nothing else

    grid = job.backbone.grid or DEFAULT_GRID
    working = min(pixels, working_pixels(job.settings, (grid, grid)))
    core_seconds = (
        AN_IMAGE
        + A_MEGAPIXEL * pixels / 1e6
        + A_CLICK_AND_WORKING_MEGAPIXEL * clicks * working / 1e6
        + AN_OBJECT_AND_MEGAPIXEL * objects * pixels / 1e6
    )
    reach = job.settings.truncation_sigmas * job.settings.spatial_sigma_cells
    case = Case(
        cells=grid**2,
        pixels=working,
        offsets=round(math.pi * reach**2 * working / grid**2),
        clicks=max(1, round(clicks)),
        sinkhorn_sweeps=TYPICAL_SWEEPS,
        chain_steps=TYPICAL_STEPS,
        operator_bytes=HALF_BYTES if job.settings.operator_dtype == "float16" else FLOAT_BYTES,
    )
    needs = []
    for card in CARDS:
        images_per_s = min(1.0, job.workers.gpus) * 1e3 / milliseconds(case, card)
        needs.append(Need(card.name, round(images_per_s, 1), math.ceil(DRIVING + images_per_s * core_seconds)))
    return Cores(round(pixels / 1e6, 2), round(clicks, 1), round(core_seconds, 2), job.workers.cpus, tuple(needs))


def cores_of_plan(job: Job, plan: Plan) -> Cores | None:
    """The same of a plan's images, by a run's look at some of them, spread over all; None also where none can be read.

    What is found out about containers is kept for the workers.

    Raises:
        PlanDamaged: a shard's file is gone or another.
        StoreUnavailable: the output's storage does not answer.
    """
    if not _is_reckoned(job):
        return None
    number = len(plan.shards)
    shards = [read_shard(job.output_store, plan, index) for index in range(0, number, -(-number // SHARDS_LOOKED_AT))]
    images = [image for shard in shards for image in shard]
    some = [image.image for shard in shards for image in shard[:: -(-len(shard) // IMAGES_OF_A_SHARD)]]

    def pixels(key: str) -> int | None:
        try:
            size = read_size(job.image_source, key, job.limits)
        except (BadImage, StoreUnavailable, UnusableStorage):  # the run will say so of the image, if that is so then
            return None
        return size.width * size.height

    with ThreadPoolExecutor(AT_ONCE) as threads:
        known = [found for found in threads.map(pixels, some) if found is not None]
    if not known:
        return None
    objects = sum(len(image.objects) for image in images)
    clicks = sum(len(each.clicks) for image in images for each in image.objects)
    return cores_beside_gpu(job, round(statistics.median(known)), clicks / len(images), objects / len(images))


def _is_reckoned(job: Job) -> bool:
    return job.backbone.name in KIN and job.workers.gpus > 0 and job.backbone.device != "cpu"
