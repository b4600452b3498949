"""What the cluster has, how many workers that is room for, and how many CPUs each gets beside its GPU."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import ray

from pipeline.config import DEFAULT_CPUS, Job, Workers
from pipeline.plan import Plan
from pipeline.worker.cores import NOTHING_RECKONED, Cores, cores_of_plan

CARD = "accelerator_type:"  # what Ray calls a node's GPU: accelerator_type:A100

log = logging.getLogger("m2n2.run")


@dataclass(frozen=True)
class Room:
    """The nodes that are alive.

    Attributes:
        nodes: ids of those that could hold a worker, if nothing else ran there.
        workers: how many workers these have room for together, without the nodes that are not used.
        total: CPUs and GPUs of all nodes.
        largest: the most of each that one node has.
        count: how many nodes there are.
    """

    nodes: frozenset[str] = frozenset()
    workers: int = 0
    total: Mapping[str, float] | None = None
    largest: Mapping[str, float] | None = None
    count: int = 0

    def __str__(self) -> str:
        total = self.total or {}
        return f"{total.get('GPU', 0.0):g} GPUs and {total.get('CPU', 0.0):g} CPUs on {self.count} nodes"


def find_room(wanted: Workers, without: Collection[str]) -> Room:
    """Ask the connected cluster; `without` are ids of nodes that are not used."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    fits = {node["NodeID"]: _fits(wanted, node["Resources"]) for node in alive}
    return Room(
        nodes=frozenset(node for node, workers in fits.items() if workers),
        workers=sum(workers for node, workers in fits.items() if node not in without),
        total={name: sum(node["Resources"].get(name, 0.0) for node in alive) for name in ("CPU", "GPU")},
        largest={
            name: max((node["Resources"].get(name, 0.0) for node in alive), default=0.0) for name in ("CPU", "GPU")
        },
        count=len(alive),
    )


def settle_cpus(job: Job, plan: Plan) -> Job:
    """The job with the number that its `workers.cpus: auto` is on the connected cluster, said in one line.

    Raises as `cores_of_plan`.
    """
    if job.workers.cpus != "auto":
        return job
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, why = cpus_beside_gpu(job.workers, cores_of_plan(job, plan), alive)
    log.info("workers.cpus auto: %g, %s", cpus, why)
    return job.model_copy(update={"workers": job.workers.model_copy(update={"cpus": cpus})})


def cpus_beside_gpu(workers: Workers, cores: Cores | None, nodes: Sequence[Mapping[str, float]]) -> tuple[float, str]:
    """CPUs for each worker and why so many: its card's need, at most what every node has for it; or the default.

    Nodes that can hold no worker do not count: one has at least a CPU, and the GPUs that the job asks for.

    Args:
        cores: what the images need; None where nothing was reckoned for them.
        nodes: resources of each.
    """
    with_gpus = [node for node in nodes if node.get("GPU", 0.0) >= workers.gpus > 0 and node.get("CPU", 0.0) >= 1]
    cards = {name.removeprefix(CARD) for node in with_gpus for name in node if name.startswith(CARD)}
    needs = [need for need in cores.needs if need.card.split()[0] in cards] if cores else []
    if cores is None:
        return DEFAULT_CPUS, f"the default: {NOTHING_RECKONED}"
    if not needs:
        gpus = f"the cluster's GPUs ({', '.join(sorted(cards)) or 'none whose kind is known'})"
        return DEFAULT_CPUS, f"the default: nothing was reckoned for {gpus}"
    need = max(needs, key=lambda each: each.cores)
    why = f"{need.card} needs {need.cores} for {need.images_per_s:g} images/s of {cores.core_seconds:g} core-seconds"
    there = math.floor(min(node["CPU"] * workers.gpus / node["GPU"] for node in with_gpus) + 1e-9)
    if need.cores <= there:
        return float(need.cores), why
    return float(max(1, there)), f"all that a node has for each worker: {why}"


def free() -> str:
    """What of the cluster nobody uses, for people."""
    resources = ray.available_resources()
    return f"{resources.get('GPU', 0.0):g} GPUs and {resources.get('CPU', 0.0):g} CPUs"


def _fits(wanted: Workers, resources: Mapping[str, float]) -> int:
    room = resources.get("CPU", 0.0) / wanted.cores
    if wanted.gpus:
        room = min(room, resources.get("GPU", 0.0) / wanted.gpus)
    return math.floor(room + 1e-9)
