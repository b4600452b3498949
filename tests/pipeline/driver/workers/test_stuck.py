"""A worker counts as stuck by its image's own limit: `limits.image_timeout_s`, times the image's size."""

from __future__ import annotations

import pytest

from pipeline.config import parse_job
from pipeline.driver.events import Lost
from pipeline.driver.workers.fleet import Fleet
from pipeline.driver.workers.worker import Worker
from pipeline.tasks import Place, Progress, Task
from tests.pipeline.make_data import EMPTY_PLAN

JOB = parse_job({"images": "a", "clicks": "b", "output": "c", "limits": {"image_timeout_s": 60}}, "job")


@pytest.mark.parametrize(
    ("size", "seconds", "stuck"), [(1.0, 59, False), (1.0, 61, True), (10.0, 599, False), (10.0, 601, True)]
)
def test_a_dense_image_may_take_longer(
    monkeypatch: pytest.MonkeyPatch, size: float, seconds: float, stuck: bool
) -> None:
    monkeypatch.setattr("ray.kill", lambda actor: None)
    fleet = Fleet(JOB, EMPTY_PLAN)
    progress = Progress(running=Task(0), slowest=Task(0), slowest_s=seconds, slowest_size=size)
    worker = Worker(None, 0.0, place=Place("id", "gpu-07", 7), ready=True, progress=progress)
    fleet.workers.append(worker)
    events = fleet._stuck(worker)
    assert [type(event) for event in events] == [Lost] * stuck
    if stuck:
        assert f"more than {60 * size:g} s (limits.image_timeout_s" in events[0].message
