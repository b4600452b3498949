"""Why a worker is lost, from what Ray or the worker itself says of its end."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import ray
from ray.exceptions import RayError, RayTaskError

from m2n2.errors import InvalidAttention, InvalidDevice, InvalidWeights
from pipeline.describe import describe
from pipeline.driver.events import Cause
from pipeline.driver.workers.nodes import NoWorkers
from pipeline.driver.workers.worker import Worker
from pipeline.storage.refusals import UnusableStorage, refusal
from pipeline.worker.device import DeviceFailed

# A node that says so at the start of a worker will say it of the next one too.
REFUSED = (InvalidWeights, InvalidAttention, InvalidDevice, UnusableStorage)

log = logging.getLogger("m2n2.run")


@dataclass(frozen=True)
class Loss:
    """A worker cannot go on.

    Attributes:
        traceback: of the exception that ended it, or what Ray says of its end.
        refusal: why no worker will ever start where this one did.
    """

    cause: Cause
    message: str
    traceback: str = ""
    refusal: Exception | None = None


def why_lost(worker: Worker, error: RayError, output: str) -> Loss:
    """What ended it. An exception is a defect, or a device in a state that only a new process gets out of.

    Raises NoWorkers where the storage refuses the run's own output: the same for every shard (of images it is an error
    row).
    """
    if not isinstance(error, RayTaskError):
        return Loss("node" if _node_is_gone(worker, error) else "crash", describe(error), str(error))
    message = describe(error.cause)
    if isinstance(error.cause, REFUSED):
        return Loss("node", message, str(error), refusal=error.cause)
    if worker.ready and (found := refusal(error.cause)):
        raise NoWorkers(f"workers cannot write to {output}: {found}") from None
    log.error("a worker failed: %s", error)
    device = worker.ready and isinstance(error.cause, DeviceFailed)
    return Loss("device" if device else "crash", message, str(error))


def _node_is_gone(worker: Worker, error: Exception) -> bool:
    if getattr(error, "preempted", False) or "node has died" in str(error) or "node was terminated" in str(error):
        return True
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    return worker.place is not None and worker.place.node_id not in alive
