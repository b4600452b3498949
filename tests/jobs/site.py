"""A place with photos, clicks and a library, and a labeller that needs no Ray: masks are made from clicks alone."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.clicks import ObjectClicks
from pipeline.config import Job
from pipeline.driver.ending import RunResult
from pipeline.export.coco import export_coco
from pipeline.failure import Failure
from pipeline.library.config import Nightly, parse_nightly
from pipeline.library.export import labels_of_library
from pipeline.library.nights import Wishes, run_nights
from pipeline.library.report import NightReport
from pipeline.parts import commit_part, error_row, finished_shards, mask_row
from pipeline.plan import Plan, read_shard
from pipeline.storage.store import Store
from tests.pipeline.make_data import parquet

Key = tuple[str, str]


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the product catches it."""


class FakeLabeller:
    """Takes the place of pipeline.driver.run.run: same parts, same result, masks as wide as the last click's x.

    Attributes:
        labelled: every (image, object) that it labelled, in order.
        reasons: objects that fail, with the reason.
        shards_to_live: it dies after so many shards; None: never.
        allowed_share: of failures, as the last run was told.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.labelled: list[Key] = []
        self.reasons: dict[Key, str] = {}
        self.shards_to_live: int | None = None
        self.connections = 0
        self.allowed_share = 0.0
        self.before_return: Callable[[], None] = lambda: None
        monkeypatch.setattr("pipeline.driver.run.run", self.run)

    @contextmanager
    def connect(self, job: Job) -> Iterator[None]:
        self.connections += 1
        yield

    def run(self, job: Job, stop: threading.Event, on_progress: object, plan: Plan) -> RunResult:
        store = job.output_store
        self.allowed_share = job.limits.max_failed_share
        done = finished_shards(store, plan)
        for shard in plan.shards:
            if shard.index in done:
                continue
            if self.shards_to_live == 0:
                raise Killed
            if self.shards_to_live is not None:
                self.shards_to_live -= 1
            images = read_shard(store, plan, shard.index)
            rows = [self._row(each) for image in images for each in image.objects]
            commit_part(store, plan, shard.index, images, rows)
        self.before_return()
        return RunResult("complete", "", plan.objects, {}, 0.0, [])

    def _row(self, clicks: ObjectClicks) -> dict[str, Any]:
        key = (clicks.image, clicks.object)
        self.labelled.append(key)
        failure = Failure(self.reasons[key], "told to") if key in self.reasons else clicks.failure
        return error_row(clicks, failure) if failure else mask_row(clicks, mask_of(clicks.clicks[-1]["x"]), 0.5, 0.0)


class Site:
    """Photos and clicks of several days below one store, and nights over them."""

    def __init__(self, store: Store, labeller: FakeLabeller) -> None:
        self.store, self.labeller = store, labeller
        self.document: dict[str, Any] = {
            "library": store.url("library"),
            "images": store.url("photos/"),
            "clicks": store.url("clicks/dt=*/"),
            "backbone": {"name": "colour", "grid": 16},
            "workers": {"count": 1, "gpus": 0},
            "storage": {"endpoint_url": store.storage.endpoint_url},
            "shard_images": 2,
            "lease_expires_s": 60,
            "limits": {"max_failed_share": 1.0, "max_removed_share": 1.0},
        }

    @property
    def nightly(self) -> Nightly:
        return parse_nightly(self.document, "nightly.yaml")

    @property
    def library(self) -> Store:
        return self.nightly.store

    def photos(self, *names: str, content: str = "") -> None:
        for name in names:
            self.store.put(f"photos/{name}", f"{name} {content}".encode())

    def clicks(self, day: str, clicks: dict[Key, float], file: str = "a") -> None:
        """A file of clicks of one day: x of one click an object."""
        rows = [{"image": image, "object": name, "x": x, "y": 1.0} for (image, name), x in clicks.items()]
        self.store.put(f"clicks/dt={day}/{file}.parquet", parquet(rows))

    def night(self, date: str, stop: threading.Event | None = None, wishes: Wishes | None = None) -> list[NightReport]:
        """Do a night; what was labelled in it stands in `labeller.labelled`."""
        self.labeller.labelled.clear()
        stop = stop or threading.Event()
        return run_nights(self.nightly, date, self.labeller.connect, stop, lambda snapshot: None, wishes)

    def exported(self, directory: Path) -> dict[Key, int]:
        """The library's export: (image, object) to the area of its mask."""
        path = directory / f"{uuid.uuid4().hex}.json"
        with labels_of_library(self.library) as labels:
            export_coco(labels, Store(""), str(path))
        document = json.loads(path.read_text())
        names = {image["id"]: image["file_name"] for image in document["images"]}
        found = {(names[each["image_id"]], each["object"]): each["area"] for each in document["annotations"]}
        assert len(found) == len(document["annotations"]), "an object was exported twice"
        return found


def mask_of(x: float) -> np.ndarray:
    """(4, 100) bool, true left of x."""
    return np.arange(100) < np.full((4, 1), x)


def area_of(x: float) -> int:
    return int(mask_of(x).sum())
