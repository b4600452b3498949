"""Somebody is called when no worker ever starts: the alert's expression on what a simulated run tells Prometheus."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from pipeline.config import parse_job
from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.labelling import Labelling
from pipeline.driver.progress import Snapshot
from pipeline.driver.seeing.metrics import RunMetrics
from pipeline.driver.workers.capacity import Capacity
from pipeline.driver.workers.fleet import Fleet
from pipeline.tasks import Place
from tests.pipeline.driver.conftest import Labels, Scrape
from tests.pipeline.make_data import EMPTY_PLAN

ALERTS = Path(__file__).parents[3] / "jobs" / "monitoring" / "alerts.yaml"
AGGREGATE = re.compile(r"max by \(([\w, ]+)\) \((\w+)\) > 0")
MINUTES = 30
# Of an actor, each with a call that nobody answers before the test does; and what makes the actor.
ANSWER = SimpleNamespace(future=Future)
CALL = SimpleNamespace(remote=lambda *_: ANSWER)
ACTORS = SimpleNamespace(remote=lambda *_: SimpleNamespace(place=CALL, load=CALL, label=CALL, progress=CALL))


def minutes_of_a_run(scraped: Scrape, monkeypatch: pytest.MonkeyPatch, ready_at: int | None) -> list[Scrape]:
    """A scrape a minute of a run of four workers that want to start; one is ready after so many minutes, or none."""
    scrapes: list[Scrape] = []
    stop = threading.Event()
    monkeypatch.setattr(Capacity, "look_around", lambda self: None)
    monkeypatch.setattr("pipeline.driver.workers.fleet.LabelerActor", SimpleNamespace(options=lambda **_: ACTORS))
    monkeypatch.setattr("pipeline.driver.labelling.POLL_S", 0.0)  # told in each turn, a minute here
    monkeypatch.setattr(Fleet, "waiting", lambda self: "Ray has started 0 of 4 workers")
    job = parse_job({"images": "a", "clicks": "b", "output": "c", "workers": {"count": 4, "gpus": 0}}, "job")
    any_plan: Any = SimpleNamespace(reference=None, shards=range(9))
    fleet = Fleet(job, any_plan)
    poll_fleet = fleet.poll

    def poll(timeout_s: float) -> list[Any]:
        if len(scrapes) == ready_at:
            first = fleet.workers[0]
            assert first.placing is not None
            first.placing.set_result(Place("id", "gpu-07", 7))
            assert poll_fleet(0) == []
            assert first.loading is not None
            first.loading.set_result({})
        return poll_fleet(0)

    def scrape(snapshot: Snapshot) -> None:
        if stop.is_set():
            return  # told once more at the end
        scrapes.append({name: dict(series) for name, series in scraped.items()})
        if len(scrapes) == MINUTES:
            fleet.workers[0].tasks.clear()  # nothing is waited for
            stop.set()

    monkeypatch.setattr(fleet, "poll", poll)
    heartbeat: Any = type("Silent", (), {"update": lambda *_: None})()
    with RunMetrics("c") as metrics:
        dispatcher = Dispatcher([(shard, 2) for shard in range(9)])
        Labelling(job, EMPTY_PLAN, dispatcher, fleet, heartbeat, metrics, scrape).work(stop)
    scrapes.append({name: dict(series) for name, series in scraped.items()})
    return scrapes


def is_true(expression: str, scrape: Scrape) -> bool:
    """Of `max by (...) (A) > 0 unless max by (...) (B) > 0`, whether any series is left, as PromQL has it."""
    wanted, unless, ready = expression.partition(" unless ")
    assert unless
    return bool(_groups(wanted, scrape) - _groups(ready, scrape))


def _groups(expression: str, scrape: Scrape) -> set[Labels]:
    match = AGGREGATE.fullmatch(expression)
    assert match, expression
    names = match[1].split(", ")
    return {
        frozenset((name, dict(labels).get(name, "")) for name in names)
        for labels, found in scrape.get(match[2], {}).items()
        if found > 0
    }


def fires(rule: Mapping[str, Any], scrapes: list[Scrape]) -> bool:
    """Whether its expression was true for its time on end; a scrape is taken and looked at once a minute."""
    minutes, longest = 0, 0
    for scrape in scrapes:
        minutes = minutes + 1 if is_true(rule["expr"], scrape) else 0
        longest = max(longest, minutes)
    return longest > int(rule["for"].removesuffix("m"))


@pytest.mark.parametrize(("ready_at", "fired"), [(None, True), (20, True), (5, False), (0, False)])
def test_the_alert_fires_when_no_worker_starts(
    scraped: Scrape, monkeypatch: pytest.MonkeyPatch, ready_at: int | None, fired: bool
) -> None:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    (rule,) = (rule for rule in group["rules"] if rule["alert"] == "M2n2NoWorker")
    scrapes = minutes_of_a_run(scraped, monkeypatch, ready_at)
    assert len(scrapes) == MINUTES + 1
    assert fires(rule, scrapes) == fired
    assert not is_true(rule["expr"], scrapes[-1]), "a run that has ended calls nobody"
