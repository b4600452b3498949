"""What Prometheus hears of a run, its storage and its stages."""

from __future__ import annotations

from pathlib import Path

from pipeline.describe import without_credentials
from pipeline.driver.events import Lost
from pipeline.driver.seeing.metrics import RunMetrics
from pipeline.storage.retry import retried
from pipeline.storage.store import Store
from pipeline.tasks import Task
from pipeline.worker.metrics import StorageMetrics, WorkerMetrics
from tests.pipeline.driver.conftest import Scrape


def value(scraped: Scrape, name: str, **labels: str) -> float:
    return scraped[name][frozenset({"SessionName": "s", **labels}.items())]


def test_workers_that_are_lost_and_what_is_done_again(scraped: Scrape) -> None:
    with RunMetrics("s3://me:secret@bucket/labels") as metrics:
        metrics.lost(Lost("crash", "signal 11", Task(0), [Task(1)]))
        metrics.lost(Lost("node", "gone", None, []))
        metrics.unavailable()
    run = {"output": without_credentials("s3://me:secret@bucket/labels")}
    assert value(scraped, "ray_m2n2_workers_lost_total", cause="crash", **run) == 1
    assert value(scraped, "ray_m2n2_workers_lost_total", cause="node", **run) == 1
    assert value(scraped, "ray_m2n2_tasks_retried_total", reason="crash", **run) == 2
    assert value(scraped, "ray_m2n2_tasks_retried_total", reason="storage", **run) == 1


def test_bytes_read_and_storage_that_fails(scraped: Scrape, tmp_path: Path) -> None:
    store, metrics = Store(str(tmp_path)), StorageMetrics()
    answers = iter([ConnectionResetError("1"), ConnectionResetError("2"), None])

    def request() -> None:
        if error := next(answers):
            raise error

    store.put("key", b"12345")
    store.read("key")
    store.read_span("key", 1, 3)
    retried(request, 60.0, "s3://bucket/key")
    metrics.update()
    metrics.update()
    assert value(scraped, "ray_m2n2_bytes_read_total") == 7
    assert value(scraped, "ray_m2n2_storage_errors_total") == 2


def test_seconds_by_stage(scraped: Scrape) -> None:
    metrics = WorkerMetrics()
    for _ in range(2):
        metrics.task_done({"fetch": 1.5, "write": 0.0})
    assert value(scraped, "ray_m2n2_stage_seconds_total", stage="fetch") == 3.0
