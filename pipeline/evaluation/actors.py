"""An evaluation on Ray: each actor loads the method once and clicks on an image at a time, several actors a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.util import ActorPool

from pipeline.config import Job
from pipeline.evaluation.evaluate import EvaluationIncomplete, Request, click_image
from pipeline.evaluation.methods import make_method
from pipeline.evaluation.results import write_result
from pipeline.evaluation.truths import TruthData, TruthImage


class Evaluator:
    """Clicks on images and puts their results in place."""

    def __init__(self, job: Job, request: Request, data: TruthData) -> None:
        self._job, self._request, self._data = job, request, data
        self._ready = make_method(job, request.method)

    def click(self, image: TruthImage) -> str:
        """Click on all objects of an image; returns its key when the result is in place."""
        write_result(self._job.output_store, image.key, click_image(self._data, image, self._request, self._ready))
        return image.key


def click_on_ray(job: Job, request: Request, data: TruthData, images: Sequence[TruthImage]) -> Iterator[str]:
    """Yields the key of each image as its result is in place, in any order; Ray is connected.

    Raises:
        EvaluationIncomplete: a worker was lost.
    """
    gpus = job.workers.gpus if request.method == "m2n2" else 0.0
    options = ray.remote(num_gpus=gpus, num_cpus=job.workers.cpus)(Evaluator)
    actors = [options.remote(job, request, data) for _ in range(min(len(images), _room(job, gpus)))]
    pool: Any = ActorPool(actors)
    try:
        yield from pool.map_unordered(lambda actor, image: actor.click.remote(image), images)
    except ray.exceptions.RayActorError as error:
        raise EvaluationIncomplete(f"a worker was lost, start the evaluation again to go on: {error}") from error


def _room(job: Job, gpus: float) -> int:
    """How many actors the cluster has room for, or how many the job wants."""
    if job.workers.count != "auto":
        return job.workers.count
    room = ray.cluster_resources()
    by_cpu = int(room.get("CPU", 1.0) // job.workers.cpus)
    return max(1, min(by_cpu, int(room.get("GPU", 0.0) // gpus)) if gpus else by_cpu)
