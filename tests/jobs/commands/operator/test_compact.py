"""Folding a library's files: it holds the same before, after and during it, wherever it is killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import main
from pipeline.library import compact as compacting
from pipeline.library.compact import collect, compact
from pipeline.library.index import Index
from pipeline.library.intervene import unlock
from pipeline.library.lease import LeaseHeld, take_lease
from pipeline.library.ledger import read_state
from pipeline.storage.store import Store
from tests.jobs.site import Killed, Site

WEEK = timedelta(days=7)
CHANGING = ("put_new", "put", "put_file", "remove")


def three_nights(site: Site) -> None:
    """What is new, changed, gone and has failed."""
    site.photos("a", "b", "c")
    site.clicks("01", {("a", "1"): 10, ("a", "2"): 20, ("b", "1"): 30, ("c", "1"): 40})
    site.labeller.reasons = {("b", "1"): "internal"}
    site.night("2026-01-01")
    site.clicks("02", {("b", "2"): 50})
    site.night("2026-01-02")
    site.photos("a", content="edited")
    site.clicks("01", {("a", "1"): 10, ("b", "1"): 30, ("c", "1"): 40})
    site.night("2026-01-03")


def exported(library: Store, directory: Path) -> bytes:
    path = directory / "instances.json"
    options = ["--endpoint-url", library.storage.endpoint_url] if library.storage.endpoint_url else []
    assert main(["export", library.root, "--to", str(path), *options]) == 0
    return path.read_bytes()


def known(library: Store) -> list[Any]:
    with Index(library, read_state(library).index_keys) as index:
        return list(index.by_image())


def keys(library: Store) -> list[str]:
    return [entry.key for folder in ("index", "registry") for entry in library.listing(folder)]


@pytest.fixture
def a_week_later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The store's clock, once it is called: what was written before is old then."""

    def later() -> None:
        of_store = compacting.store_time

        def clock(store: Store) -> datetime:
            return of_store(store) + WEEK + timedelta(minutes=1)

        monkeypatch.setattr(compacting, "store_time", clock)

    return later


def test_a_library_holds_the_same_when_it_is_folded_and_goes_on(
    site: Site, tmp_path: Path, a_week_later: Callable[[], None]
) -> None:
    three_nights(site)
    library = site.library
    before, objects, nights = exported(library, tmp_path), known(library), read_state(library).nights
    old = keys(library)
    compact(library, "monthly")
    state = read_state(library)
    assert state.nights == nights
    assert (len(state.index_keys), len(state.registry_keys)) == (1, 1)
    assert set(old) < set(keys(library)), "the old ones stay"
    assert (exported(library, tmp_path), known(library)) == (before, objects)

    site.clicks("04", {("c", "2"): 60})
    (report,) = site.night("2026-01-04")
    assert report.diff is not None
    assert (report.diff.new, report.diff.given_up) == (1, 1), "that b/1 failed three times is known"
    assert len(read_state(library).index_keys) == 2
    before = exported(library, tmp_path)
    compact(library, "monthly")
    a_week_later()
    removed = collect(library, WEEK, "room")
    assert {entry.key for entry in removed} > set(old), "and the first compaction's own files"
    assert keys(library) == [*read_state(library).index_keys, *read_state(library).registry_keys]
    assert exported(library, tmp_path) == before
    (report,) = site.night("2026-01-05")
    assert report.outcome == "nothing_new"


def test_who_reads_a_library_meanwhile_reads_on(disk_site: Site, a_week_later: Callable[[], None]) -> None:
    three_nights(disk_site)
    library = disk_site.library
    reader, objects = read_state(library).index_keys, known(library)
    compact(library, "monthly")
    assert collect(library, timedelta(hours=1), "room") == [], "what was folded just now is old, but folded just now"
    with Index(library, reader) as index:
        assert list(index.by_image()) == objects
    a_week_later()
    assert collect(library, 2 * WEEK, "room") == []
    assert {entry.key for entry in collect(library, WEEK, "room")} > set(reader)


def test_what_it_would_do_is_said_and_what_it_did_is_recorded(
    disk_site: Site, capsys: pytest.CaptureFixture[str], a_week_later: Callable[[], None]
) -> None:
    three_nights(disk_site)
    library = disk_site.library
    command = ["library", "compact", library.root, "--reason", "monthly"]
    state, there = read_state(library), keys(library)
    assert main([*command, "--dry-run"]) == 0
    assert "3 index files and 2 files of identifiers would be folded" in capsys.readouterr().out
    assert (read_state(library), keys(library)) == (state, there)
    assert main(command) == 0
    assert main(command) == 0
    assert "0 index files and 0 files of identifiers are folded" in capsys.readouterr().out
    a_week_later()
    there = keys(library)
    assert main([*command, "--gc", "--dry-run"]) == 0
    assert "5 files would be removed" in capsys.readouterr().out
    assert keys(library) == there
    assert main([*command, "--gc"]) == 0
    assert "5 files are removed" in capsys.readouterr().out
    records = [json.loads(library.read(entry.key)) for entry in library.listing("interventions")]
    assert sorted((each["kind"], each["reason"]) for each in records) == [
        ("collect", "monthly"),
        ("compact", "monthly"),
    ]
    assert main(["library", "compact", library.root, "--gc", "--older-than", "0"]) == 2


@pytest.mark.parametrize("options", [[], ["--gc"], ["--dry-run"]])
def test_a_place_without_a_library_is_said(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["library", "compact", str(tmp_path / "typo"), *options]) == 2
    assert "no library is here; expected ledger/ below it" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


def test_a_library_that_a_night_works_on_is_left_alone(disk_site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    three_nights(disk_site)
    with take_lease(disk_site.library, 3600, lambda: None):
        for options in ([], ["--gc"]):
            assert main(["library", "compact", disk_site.library.root, *options]) == 1
            assert "is held by" in capsys.readouterr().err
        with pytest.raises(LeaseHeld):
            compact(disk_site.library, "monthly")


def killed_after(monkeypatch: pytest.MonkeyPatch, changes: int) -> pytest.MonkeyPatch:
    """From then on, the process is as dead: nothing that it does to the store happens any more."""
    left = [changes]

    def dying(method: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return method(*arguments)

        return call

    for name in CHANGING:
        monkeypatch.setattr(Store, name, dying(getattr(Store, name)))
    return monkeypatch


@pytest.mark.parametrize("work", ["compact", "collect"])
def test_killed_at_any_moment_nothing_is_lost(
    work: str, disk_site: Site, tmp_path: Path, a_week_later: Callable[[], None]
) -> None:
    three_nights(disk_site)
    library = disk_site.library
    if work == "collect":
        compact(library, "monthly")
        a_week_later()
    before, objects = exported(library, tmp_path), known(library)
    for changes in range(100):
        with pytest.MonkeyPatch.context() as patch:
            killed_after(patch, changes)
            try:
                compact(library, "monthly") if work == "compact" else collect(library, WEEK, "room")
                break
            except Killed:
                pass
        assert (exported(library, tmp_path), known(library)) == (before, objects), f"killed after {changes} changes"
        if read_state(library).holder:
            unlock(library, "it was killed", dry_run=False)
    assert changes > 8, "it was killed between any two changes of the store"
    assert len(read_state(library).index_keys) == 1
    assert (exported(library, tmp_path), known(library)) == (before, objects)
    disk_site.clicks("09", {("c", "9"): 60})
    (report,) = disk_site.night("2026-01-09")
    assert (report.outcome, report.diff and report.diff.new) == ("complete", 1)
