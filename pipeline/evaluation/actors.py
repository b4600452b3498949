"""An evaluation on Ray: each actor loads the method once and clicks on an image at a time, several actors a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.util import ActorPool

from pipeline.config import Job, Workers
from pipeline.evaluation.evaluate import EvaluationIncomplete, Request, Work, click_image
from pipeline.evaluation.methods import make_method, uses_gpu
from pipeline.evaluation.truths import TruthData


class Evaluator:
    """Clicks on images and puts their results in place."""

    def __init__(self, jobs: Sequence[Job], request: Request, data: TruthData) -> None:
        self._jobs, self._request, self._data = jobs, request, data
        self._ready = make_method(jobs[0], request.method, request.weights)

    def click(self, work: Work) -> str:
        """Click on all objects of an image; returns its key when the results are in place."""
        click_image(self._jobs, self._request, self._data, self._ready, work)
        return work.image.key


def click_on_ray(jobs: Sequence[Job], request: Request, data: TruthData, work: Sequence[Work]) -> Iterator[str]:
    """Yields the key of each image as its results are in place, in any order; Ray is connected.

    Raises:
        EvaluationIncomplete: a worker was lost.
    """
    workers = jobs[0].workers
    gpus = workers.gpus if uses_gpu(request.method) else 0.0
    options = ray.remote(num_gpus=gpus, num_cpus=workers.cores)(Evaluator)
    actors = [options.remote(jobs, request, data) for _ in range(min(len(work), _room(workers, gpus)))]
    pool: Any = ActorPool(actors)
    try:
        yield from pool.map_unordered(lambda actor, each: actor.click.remote(each), work)
    except ray.exceptions.RayActorError as error:
        raise EvaluationIncomplete(f"a worker was lost, start the evaluation again to go on: {error}") from error


def _room(workers: Workers, gpus: float) -> int:
    """How many actors the cluster has room for, or how many the job wants."""
    if workers.count != "auto":
        return workers.count
    room = ray.cluster_resources()
    by_cpu = int(room.get("CPU", 1.0) // workers.cores)
    return max(1, min(by_cpu, int(room.get("GPU", 0.0) // gpus)) if gpus else by_cpu)
