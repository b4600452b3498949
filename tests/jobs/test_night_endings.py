"""How nights end: what is bad stays bad until it is dealt with, and what cannot pass costs no more nights."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.clicks import InvalidClicks
from pipeline.library.changes import TRIES
from pipeline.library.lease import LeaseHeld, take_lease
from pipeline.library.ledger import read_state
from pipeline.library.nights import Wishes
from pipeline.library.report import NightReport
from tests.jobs.site import Site, area_of


def site_with(site: Site, images: int, **limits: float) -> Site:
    """One object in each of so many images."""
    site.document["limits"] = limits
    names = [f"{number:03d}" for number in range(images)]
    site.photos(*names)
    site.clicks("01", {(name, "1"): 10.0 for name in names})
    return site


def last(site: Site) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(site.library.read("last.json"))
    return document


def test_half_failed_stays_a_bad_ending_until_it_is_accepted(disk_site: Site) -> None:
    site = site_with(disk_site, 8)
    site.labeller.reasons = {(f"{number:03d}", "1"): "image_undecodable" for number in range(4)}
    (report,) = site.night("2026-01-01")
    assert (report.outcome, report.exit_code) == ("too_many_failed", 3)
    for date in ("2026-01-02", "2026-01-03"):
        (report,) = site.night(date)
        assert (report.outcome, report.exit_code, site.labeller.labelled) == ("too_many_failed", 3, [])
        assert "50.0% of the library's 8 objects fail (image_undecodable 4); allowed: 5.0%" in report.message
        assert last(site)["exit_code"] == 3
    (report,) = site.night("2026-01-04", wishes=Wishes(accept_failures=True))
    assert report.exit_code == 0
    (report,) = site.night("2026-01-05")
    assert (report.outcome, report.exit_code) == ("nothing_new", 0)


def test_a_later_good_night_ends_a_bad_ending(disk_site: Site) -> None:
    site = site_with(disk_site, 4)
    site.labeller.reasons = {("000", "1"): "image_undecodable"}
    assert site.night("2026-01-01")[0].exit_code == 3
    site.labeller.reasons = {}
    site.photos("000", content="repaired")
    assert site.night("2026-01-02")[0].exit_code == 0
    assert site.night("2026-01-03")[0].outcome == "nothing_new"


def test_the_share_is_of_the_library_and_what_cannot_be_read_is_not_tried_every_night(disk_site: Site) -> None:
    site = site_with(disk_site, 50)
    bad = [("000", "1"), ("001", "1")]
    site.labeller.reasons = dict.fromkeys(bad, "image_unreadable")
    for number in range(1, TRIES + 1):
        (report,) = site.night(f"2026-01-{number:02d}")
        assert (report.exit_code, sorted(site.labeller.labelled)[:2]) == (0, bad)
    site.labeller.connections = 0
    (report,) = site.night("2026-02-01")
    assert (report.outcome, report.exit_code, site.labeller.connections) == ("nothing_new", 0, 0)
    assert report.diff is not None
    assert (report.diff.unchanged, report.diff.given_up) == (48, 2)
    assert report.message == "2 failed on 3 nights and are not tried any more (--retry-failed)"


def test_what_was_given_up_is_tried_again_when_it_changes_or_when_asked(disk_site: Site) -> None:
    site = site_with(disk_site, 3, max_failed_share=1.0)
    site.labeller.reasons = {(name, "1"): "image_unreadable" for name in ("000", "001")}
    for number in range(1, TRIES + 1):
        site.night(f"2026-01-{number:02d}")
    assert site.night("2026-02-01")[0].outcome == "nothing_new"
    site.labeller.reasons = {}
    site.photos("000", content="replaced")
    site.night("2026-02-02")
    assert site.labeller.labelled == [("000", "1")]
    assert site.night("2026-02-03")[0].outcome == "nothing_new"
    (report,) = site.night("2026-02-04", wishes=Wishes(retry_failed=True))
    assert site.labeller.labelled == [("001", "1")]
    assert report.diff is not None
    assert (report.diff.retried, report.diff.failed) == (1, {})
    assert site.night("2026-02-05")[0].message == ""


def test_a_change_that_always_fails_is_given_up_and_its_old_mask_stays(disk_site: Site, tmp_path: Path) -> None:
    site = site_with(disk_site, 2, max_failed_share=1.0)
    site.night("2026-01-01")
    site.clicks("02", {("000", "1"): 15})
    site.labeller.reasons = {("000", "1"): "internal"}
    for number in range(2, 2 + TRIES):
        site.night(f"2026-01-{number:02d}")
        assert site.labeller.labelled == [("000", "1")]
    assert site.night("2026-02-01")[0].outcome == "nothing_new"
    assert site.exported(tmp_path)["000", "1"] == area_of(10)
    (Path(site.store.root) / "clicks/dt=02/a.parquet").unlink()  # what the mask was made from is there again
    assert site.night("2026-02-02")[0].message == ""


def test_what_failed_before_may_fail_again_without_stopping_the_night(disk_site: Site) -> None:
    site = site_with(disk_site, 4, max_failed_share=0.25)
    site.labeller.reasons = {("000", "1"): "internal"}
    site.night("2026-01-01")
    assert site.labeller.allowed_share == 0.25
    site.night("2026-01-02")
    assert site.labeller.allowed_share == 1.0


def test_a_day_of_click_files_missing_removes_nothing(disk_site: Site, tmp_path: Path) -> None:
    site = site_with(disk_site, 20)
    site.night("2026-01-01")
    everything = site.exported(tmp_path)
    nights = read_state(site.library).nights
    site.clicks("01", {("000", "1"): 10.0, ("001", "1"): 10.0})
    for date in ("2026-01-02", "2026-01-03"):
        (report,) = site.night(date)
        assert (report.outcome, report.exit_code, last(site)["exit_code"]) == ("too_many_removed", 3, 3)
        assert "18 of the library's 20 objects have no clicks any more" in report.message
        assert "limits.max_removed_share" in report.message
        assert "--accept-removed" in report.message
        assert site.exported(tmp_path) == everything
    assert read_state(site.library).nights == nights
    (report,) = site.night("2026-01-04", wishes=Wishes(accept_removed=True))
    assert report.diff is not None
    assert (report.exit_code, report.diff.removed, len(site.exported(tmp_path))) == (0, 18, 2)


def test_a_night_with_new_work_that_would_remove_too_many_labels_nothing(disk_site: Site, tmp_path: Path) -> None:
    site = site_with(disk_site, 20)
    site.night("2026-01-01")
    site.clicks("01", {("000", "1"): 10.0, ("000", "new"): 10.0})
    (report,) = site.night("2026-01-02")
    assert (report.outcome, site.labeller.labelled, len(site.exported(tmp_path))) == ("too_many_removed", [], 20)
    site.clicks("01", {(f"{number:03d}", "1"): 10.0 for number in range(20)} | {("000", "new"): 10.0})
    (report,) = site.night("2026-01-02")
    assert (report.outcome, site.labeller.labelled) == ("complete", [("000", "new")])


def test_images_that_are_gone_count_as_removed_too(disk_site: Site, tmp_path: Path) -> None:
    """Labelled, they would be missing, and their masks with them."""
    site = site_with(disk_site, 20)
    site.night("2026-01-01")
    site.document["images"] = site.store.url("elsewhere/")
    (report,) = site.night("2026-01-02")
    assert (report.outcome, report.exit_code) == ("too_many_removed", 3)
    assert "the images of 20 are gone" in report.message
    assert len(site.exported(tmp_path)) == 20


def test_a_night_that_ends_with_an_error_leaves_word(disk_site: Site) -> None:
    site = site_with(disk_site, 2)
    site.night("2026-01-01")
    site.document["clicks"] = site.store.url("nowhere/")
    with pytest.raises(InvalidClicks):
        site.night("2026-01-02")
    assert (last(site)["date"], last(site)["outcome"]) == ("2026-01-02", "error")
    assert "no such file" in last(site)["message"]


def test_waiting_for_the_lease_of_a_driver_that_died(disk_site: Site) -> None:
    site = site_with(disk_site, 1)
    take_lease(site.library, 2, lambda: None)  # never released, never beating
    with pytest.raises(LeaseHeld):
        site.night("2026-01-01")
    (report,) = site.night("2026-01-01", wishes=Wishes(wait_for_lease_s=60))
    assert report.outcome == "complete"


def test_waiting_for_the_lease_ends(disk_site: Site) -> None:
    site = site_with(disk_site, 1)
    with take_lease(site.library, 60, lambda: None):
        with pytest.raises(LeaseHeld):
            site.night("2026-01-01", wishes=Wishes(wait_for_lease_s=0.5))
        stop = threading.Event()
        ended: list[BaseException | list[NightReport]] = []

        def wait() -> None:
            try:
                ended.append(site.night("2026-01-01", stop, Wishes(wait_for_lease_s=3600)))
            except LeaseHeld as held:
                ended.append(held)

        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.5)
        stop.set()
        waiting.join(60)
        assert isinstance(ended[0], LeaseHeld)


def test_storage_that_replaces_objects_is_for_those_who_allow_it(
    disk_site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site = site_with(disk_site, 1)
    monkeypatch.setattr("pipeline.storage.store.create_file", lambda path, data: replaced(path, data))
    with pytest.raises(ValueError, match="allow_storage_that_replaces: true"):
        site.night("2026-01-01")
    site.document["allow_storage_that_replaces"] = True
    assert site.night("2026-01-01")[0].outcome == "complete"
    assert "nothing here keeps two nights apart" in caplog.text


def replaced(path: Path, data: bytes | Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.read_bytes() if isinstance(data, Path) else data)
    return True
