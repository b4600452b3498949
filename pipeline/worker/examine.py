"""What a node has for a job's workers: versions, device, storage, weights, room, and one photo labelled end to end."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from m2n2.backbones import BUILT_IN
from m2n2.backbones.weights import default_cache
from pipeline.clicks import ObjectClicks
from pipeline.config import Job
from pipeline.describe import describe
from pipeline.parts import Size
from pipeline.weights.node_cache import weights_digest, weights_on_this_node
from pipeline.worker.clicks_on_image import placed_on
from pipeline.worker.images import decode_image, decoded_bytes, fetch_image
from pipeline.worker.model import load_model
from pipeline.worker.refinement import Refinement

FREE_DISK_BYTES = 5_000_000_000  # a copy of the largest weights, and Ray's logs
SHARED_MEMORY = Path("/dev/shm")
FREE_SHARED_BYTES = 256_000_000


@dataclass(frozen=True)
class Check:
    """One line of an examination: what was looked at, whether a run can do with it, and what was found."""

    name: str
    ok: bool
    found: str


class Unfit(Exception):
    """What was found will not do; the message says what, and what is needed."""


def versions() -> str:
    """Of what must be the same wherever a run has processes: pickled values travel between them."""
    return f"Python {platform.python_version()}, Ray {version('ray')}, m2n2 {version('m2n2')}"


def checked(name: str, look: Callable[[], str]) -> Check:
    """What a look found; whatever it raises is a check that is not passed."""
    try:
        return Check(name, True, look())
    except Unfit as error:
        return Check(name, False, str(error))
    except Exception as error:
        return Check(name, False, describe(error))


def examine(job: Job, photo: ObjectClicks, wanted_versions: str) -> list[Check]:
    """Look at the node that this runs on.

    Args:
        photo: an object of the job, to be labelled with the job's model.
        wanted_versions: what the driver's `versions()` are.
    """
    return [checked(name, look) for name, look in _looks(job, photo, wanted_versions)]


def _looks(job: Job, photo: ObjectClicks, wanted_versions: str) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "versions", lambda: _same(versions(), wanted_versions)
    yield "device", lambda: _device(job)
    yield "images", lambda: _answers(job.image_source_for_a_look.check, job.images)
    yield "output", lambda: _answers(job.output_store.check, job.output)
    yield "weights", lambda: _weights(job)
    yield "disk", lambda: _room(default_cache(), FREE_DISK_BYTES)
    yield "/dev/shm", lambda: _room(SHARED_MEMORY, FREE_SHARED_BYTES)
    yield "photo", lambda: _labelled(job, photo)


def _same(found: str, wanted: str) -> str:
    if found != wanted:
        raise Unfit(f"found {found}; the driver has {wanted}")
    return found


def _device(job: Job) -> str:
    import torch

    if not torch.cuda.is_available():
        if job.workers.gpus and job.backbone.device != "cpu":
            raise Unfit(f"workers.gpus is {job.workers.gpus:g}, and PyTorch {torch.__version__} sees no CUDA device")
        return f"CPU, PyTorch {torch.__version__}"
    free, total = torch.cuda.mem_get_info()
    name = torch.cuda.get_device_name()
    memory = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    return f"{name}, {memory}, CUDA {torch.version.cuda}, PyTorch {torch.__version__}"


def _answers(ask: Callable[[], None], address: str) -> str:
    ask()
    return f"{address} answers"


def _weights(job: Job) -> str:
    backbone = job.backbone
    if backbone.weights is None or backbone.name not in BUILT_IN:
        return "none are named in the job"
    here = weights_on_this_node(backbone.weights, job.storage, backbone.sha256)
    return f"sha256 {weights_digest(backbone.weights, job.storage)} in {here}"


def _room(place: Path, needed: int) -> str:
    there = next(each for each in (place, *place.parents) if each.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / 1e9:.1f} GB free in {there}"
    if free < needed:
        raise Unfit(f"{found}; needed: {needed / 1e9:.1f} GB")
    return found


def _labelled(job: Job, photo: ObjectClicks) -> str:
    from m2n2 import Scene
    from m2n2.backbones.reading import read_image

    data = fetch_image(job.image_source_for_a_look, photo.image, job.limits)
    decoded_bytes(data, photo.image, job.limits)
    pixels = decode_image(data, photo.image, job.orientation)
    size = Size(width=pixels.shape[1], height=pixels.shape[0])
    placed = placed_on(photo, size, ["the click files"])
    model = load_model(job)
    began_s = time.monotonic()
    refinement = Refinement(size)
    refinement.add(placed, placed.failure)
    refinement.scene = Scene(pixels, read_image(model, pixels, job.settings), job.settings)
    [row] = refinement.rows()
    if error := row.get("error"):
        raise Unfit(f"{photo.image}: {error['reason']}: {error['message']}")
    seconds = time.monotonic() - began_s
    return f"{photo.image}, {size.width}x{size.height}: a mask of {row['area']} pixels in {seconds:.1f} s"
