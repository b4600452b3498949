"""One night at a time: who is alive holds, who is dead is followed, who slept commits nothing; clocks do not matter."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.config import InvalidJob
from pipeline.library import lease as lease_module
from pipeline.library.lease import Lease, LeaseHeld, LeaseLost, take_lease
from pipeline.library.ledger import Night, Overtaken, State, append_state, is_library, read_state
from pipeline.storage.store import Store
from tests.jobs.site import Site

NIGHT = Night("2026-01-01", "runs/2026-01-01")


def nobody() -> None:
    """For leases that are not to be told that they are lost."""


def take(site: Site, expires_after_s: float = 60) -> Lease:
    return take_lease(site.library, expires_after_s, nobody)


def wait_until_expired(site: Site) -> Lease:
    """Take over as soon as the store's clock allows it."""
    give_up_at = time.monotonic() + 60
    while True:
        try:
            return take(site)
        except LeaseHeld:
            assert time.monotonic() < give_up_at
            time.sleep(0.2)


def test_states_are_created_once_in_order(site: Site) -> None:
    assert not is_library(site.library)
    assert read_state(site.library) == State()
    append_state(site.library, State(1, None, (NIGHT,)))
    with pytest.raises(Overtaken):
        append_state(site.library, State(1, None, ()))
    append_state(site.library, State(1, None, (NIGHT,)))  # its own, again, after an answer that was lost
    assert read_state(site.library) == State(1, None, (NIGHT,))
    assert is_library(site.library)


def test_a_second_driver_is_told_who_holds_the_lease_since_when(site: Site) -> None:
    with take(site) as lease:
        with pytest.raises(LeaseHeld) as held:
            take(site)
        for part in (lease.holder.host, f"pid {lease.holder.pid}", f"since {lease.holder.since}", "nothing was done"):
            assert part in str(held.value)
    with take(site) as following:
        assert following.holder.token > lease.holder.token


def test_of_many_drivers_one_gets_the_lease(site: Site) -> None:
    results: list[str] = []

    def contend() -> None:
        try:
            lease = take(site)
            results.append(lease.holder.id)
        except LeaseHeld:
            results.append("held")

    threads = [threading.Thread(target=contend) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results).count("held") == 5
    holder = read_state(site.library).holder
    assert holder is not None
    assert holder.id in results


def test_a_driver_that_slept_can_commit_nothing(site: Site) -> None:
    asleep = take(site, expires_after_s=1)  # its heartbeat never starts
    with wait_until_expired(site) as awake:
        awake.commit([NIGHT])
        with pytest.raises(LeaseLost, match=f"lease {asleep.holder.token} is lost"):
            asleep.commit([])
        with pytest.raises(LeaseLost):
            asleep.check()
        assert read_state(site.library).nights == (NIGHT,)
    with pytest.raises(LeaseLost):  # also once nobody holds the lease any more
        asleep.commit([])


def test_a_heartbeat_keeps_the_lease_and_notices_its_loss(disk_site: Site) -> None:
    lost = threading.Event()
    with take_lease(disk_site.library, 1, lost.set) as lease:
        time.sleep(3)  # three times its expiry
        with pytest.raises(LeaseHeld):
            take(disk_site)
        usurper = State(lease.state.number + 1, None, ())
        append_state(disk_site.library, usurper)
        assert lost.wait(30)
    assert read_state(disk_site.library) == usurper


@pytest.mark.parametrize("hours", [-30, 30])
def test_drivers_whose_clocks_disagree_agree_on_who_is_alive(
    hours: int, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Skewed(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.now(UTC) + timedelta(hours=hours)

    monkeypatch.setattr(lease_module, "datetime", Skewed)
    monkeypatch.setattr(time, "time", lambda real=time.time: real() + hours * 3600)
    lease = take(site, expires_after_s=60)
    since = datetime.fromisoformat(lease.holder.since)
    monkeypatch.undo()
    assert abs(since - datetime.now(UTC)) < timedelta(minutes=10)  # the store's time, not the driver's
    with pytest.raises(LeaseHeld):
        take(site)


def test_storage_without_create_if_absent_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "honours_create_if_absent", lambda self: False)
    with pytest.raises(InvalidJob, match="If-None-Match"):
        take_lease(Store(str(tmp_path)), 60, nobody)


def test_a_night_that_lost_its_lease_leaves_the_library_to_the_other(disk_site: Site) -> None:
    """The old driver sleeps after its last part; the other one finishes the night; the old one wakes up."""
    site = disk_site
    site.photos("a")
    site.clicks("01", {("a", "1"): 10})
    site.document["lease_expires_s"] = 1

    def sleep_while_another_takes_over() -> None:
        # No heartbeat for this long is what a stopped process looks like.
        state = read_state(site.library)
        append_state(site.library, State(state.number + 1, None, state.nights))
        site.labeller.before_return = nobody
        (other,) = site.night("2026-01-01")[:1]
        assert other.outcome == "complete"

    site.labeller.before_return = sleep_while_another_takes_over
    with pytest.raises(LeaseLost):
        site.night("2026-01-01")
    state = read_state(site.library)
    assert [(night.state, night.run) for night in state.nights] == [("finished", "runs/2026-01-01")]
    assert json.loads(site.library.read("last.json"))["outcome"] == "nothing_new"


def test_a_driver_that_was_killed_outright_is_followed_after_its_expiry(disk_site: Site) -> None:
    site = disk_site
    site.photos("a", "b", "c", "d")
    site.clicks("01", {(name, "1"): 10.0 for name in "abcd"})
    killed = take(site, expires_after_s=2)  # it never released
    with pytest.raises(LeaseHeld):
        site.night("2026-01-01")
    give_up_at = time.monotonic() + 60
    while True:
        try:
            (report,) = site.night("2026-01-01")
            break
        except LeaseHeld:
            assert time.monotonic() < give_up_at
            time.sleep(0.2)
    assert report.outcome == "complete"
    assert read_state(site.library).number > killed.holder.token
