"""What the cluster has, and how many workers that is room for."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import ray

from pipeline.config import Workers


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


def free() -> str:
    """What of the cluster nobody uses, for people."""
    resources = ray.available_resources()
    return f"{resources.get('GPU', 0.0):g} GPUs and {resources.get('CPU', 0.0):g} CPUs"


def _fits(wanted: Workers, resources: Mapping[str, float]) -> int:
    room = resources.get("CPU", 0.0) / wanted.cpus
    if wanted.gpus:
        room = min(room, resources.get("GPU", 0.0) / wanted.gpus)
    return math.floor(room + 1e-9)
