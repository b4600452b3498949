"""Whether a job would run where it is to run: looked at from the driver and on every node that could hold a worker."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.clicks import InvalidClicks, ObjectClicks
from pipeline.config import Job
from pipeline.describe import describe
from pipeline.driver.workers.room import find_room
from pipeline.inputs.click_files import find_click_files
from pipeline.inputs.click_rows import read_clicks
from pipeline.storage.store import Store
from pipeline.worker.examine import Check, Unfit, checked, examine, versions

DRIVER = "driver"
RECORD_KEY = "status/doctor.json"
CLOCKS_APART_S = 30.0  # a library's lease tells a dead holder from a living one by the clock
ANSWER_S = 600.0


def examine_run(job: Job, photo: ObjectClicks) -> dict[str, list[Check]]:
    """Look at the driver and, in the connected cluster, at every node that could hold a worker: checks by place.

    Args:
        photo: the object that every node labels, as `first_object` finds one.
    """
    return {DRIVER: examine_driver(job)} | _examine_nodes(job, photo)


def examine_driver(job: Job) -> list[Check]:
    """Look at what the driver itself needs: an output that can be created in, and clocks that agree."""
    return [
        checked("versions", versions),
        checked("create-if-absent", lambda: _create_if_absent(job.output_store)),
        checked("clock", lambda: _storage_clock(job.output_store)),
    ]


def first_object(job: Job) -> ObjectClicks:
    """The object of the first click in the click files, with that click alone. Raises InvalidClicks."""
    store = Store("", job.storage)
    files = [entry.key for entry in find_click_files(job.click_patterns, store)]
    for batch in read_clicks(files, store, job.images_roots):
        clicks = batch.filter(pc.is_valid(batch.column("x")))  # rows of a box may have no click
        if clicks.num_rows:
            break
    else:
        raise InvalidClicks(f"{', '.join(files[:3])}: no clicks; found 0 rows with x, at least one is needed")
    row = clicks.slice(0, 1).to_pylist()[0]
    click = {"x": row["x"], "y": row["y"], "label": True, "file": 0, "row": row["row"]}
    return ObjectClicks(row["image"], str(row["object"]), row["category"], [click], None)


def record(job: Job, found: Mapping[str, list[Check]]) -> None:
    """Leave the last examination beside the run."""
    checks = {place: [vars(check) for check in checks] for place, checks in found.items()}
    job.output_store.put(RECORD_KEY, json.dumps({"at": _now().isoformat(), "checks": checks}).encode())


def _create_if_absent(store: Store) -> str:
    if not store.honours_create_if_absent():
        raise Unfit(f"{store.root} replaces objects that are there: two drivers would overwrite each other's parts")
    return f"{store.root} can be written, and honours it"


def _storage_clock(store: Store) -> str:
    store.put(RECORD_KEY, b"{}")
    return _agree((store.info(RECORD_KEY).modified - _now()).total_seconds(), "storage")


def _examine_nodes(job: Job, photo: ObjectClicks) -> dict[str, list[Check]]:
    room = find_room(job.workers, without=())
    if not room.nodes:
        asked = f"each worker asks for {job.workers.gpus:g} GPUs and {job.workers.cores:g} CPUs"
        return {"cluster": [Check("room", False, f"no node can hold a worker: {asked}; there are {room}")]}
    # Less than a worker asks for, so that nodes can be looked at while a run uses them; the model needs its GPU.
    look: Any = ray.remote(num_cpus=0, num_gpus=job.workers.gpus, max_retries=0)(_on_node)
    hosts = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes()}
    asked_s, pending = time.time(), {}
    for node in sorted(room.nodes, key=lambda each: (hosts[each], each)):
        affinity = NodeAffinitySchedulingStrategy(node, soft=False)
        pending[node] = look.options(scheduling_strategy=affinity).remote(job, photo, versions())
    give_up_at = time.monotonic() + ANSWER_S
    return {
        f"{hosts[node]} {node[:8]}": _answer(reference, asked_s, max(0.0, give_up_at - time.monotonic()))
        for node, reference in pending.items()
    }


def _on_node(job: Job, photo: ObjectClicks, wanted_versions: str) -> tuple[float, list[Check]]:
    """The node's clock when it began, and its checks."""
    at_s = time.time()
    return at_s, examine(job, photo, wanted_versions)


def _answer(reference: Any, asked_s: float, timeout_s: float) -> list[Check]:
    try:
        at_s, checks = ray.get(reference, timeout=timeout_s)
    except Exception as error:
        return [Check("answer", False, describe(error))]
    # It began somewhere between being asked and now; a clock in between tells nothing against it.
    early, late = asked_s - at_s, at_s - time.time()
    return [checked("clock", lambda: _agree(max(0.0, early, late), "the driver")), *checks]


def _agree(apart_s: float, whose: str) -> str:
    if abs(apart_s) > CLOCKS_APART_S:
        raise Unfit(f"{abs(apart_s):.0f} s apart from {whose}'s; allowed: {CLOCKS_APART_S:g} s")
    return f"agrees with {whose}'s within {CLOCKS_APART_S:g} s"


def _now() -> datetime:
    return datetime.now(UTC)
