"""What is stored of workers that died: reason, traceback and the end of the log, bounded in number and bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.driver.events import Lost
from pipeline.driver.seeing.post_mortem import FOLDER, KEPT, LAST_LINES, MAX_BYTES, PostMortems, last_lines
from pipeline.storage.store import Store
from pipeline.tasks import Place, Task

PLACE = Place("id", "gpu-07", 7, ("/logs/worker.err",))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def texts(store: Store) -> list[str]:
    return [store.read(entry.key).decode() for entry in store.listing(FOLDER)]


def test_why_where_on_what_with_traceback_and_log(store: Store) -> None:
    with PostMortems(store, tail=lambda place: f"log of {place.log_files[0]} from s3://me:secret@host/x") as deaths:
        deaths.add(Lost("crash", "KeyError: 'x'", Task(3), [], PLACE, "Traceback\n  line 7\nKeyError: 'x'"))
    [text] = texts(store)
    for expected in ("gpu-07 pid 7", "crash: KeyError: 'x'", "shard=3", "line 7", "log of /logs/worker.err"):
        assert expected in text
    assert "secret" not in text


def test_a_worker_that_cannot_load_is_kept_too_and_the_log_of_a_lost_node_is_not_asked_for(store: Store) -> None:
    def no_node(place: Place) -> str:
        raise AssertionError("the node is gone")

    with PostMortems(store, no_node) as deaths:
        deaths.add(Lost("crash", "killed before it had a place", None, []))
        deaths.add(Lost("node", "the node has died", None, [], PLACE))
    first, second = texts(store)
    assert "before it said where it runs" in first
    assert "the node has died" in second


def test_the_newest_stay_each_within_its_bytes_whichever_driver_wrote_them(store: Store) -> None:
    for driver in range(2):
        for number in range(KEPT - 2):
            with PostMortems(store, tail=lambda place: "é" * MAX_BYTES) as deaths:
                deaths.add(
                    Lost("crash", f"driver {driver} death {number} {'m' * MAX_BYTES}", None, [], PLACE, "t" * MAX_BYTES)
                )
    found = [text for entry in store.listing(FOLDER) if (text := store.read(entry.key))]
    assert len(found) == KEPT
    assert all(len(text) <= MAX_BYTES for text in found)
    assert sum(b"driver 1" in text for text in found) == KEPT - 2
    assert any(b"driver 0 death 29" in text for text in found)


def test_of_a_log_only_the_last_lines_and_of_a_missing_one_that_it_is(tmp_path: Path) -> None:
    log = tmp_path / "worker.err"
    log.write_text("".join(f"line {number}\n" for number in range(LAST_LINES + 50)) + "x" * 10_000)
    lines = last_lines((str(log), str(tmp_path / "gone"))).splitlines()
    assert lines[0] == f"--- last lines of {log}"
    assert lines[1] == "line 51"
    assert len(lines[LAST_LINES]) < 1000
    assert "gone" in lines[-1]
