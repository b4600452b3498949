"""Nights over one library: what is labelled, what is left alone, what the export shows; killed nights go on."""

from __future__ import annotations

import json
import os
import random
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.config import InvalidJob
from pipeline.driver.progress import read_status
from pipeline.library.ledger import read_state
from pipeline.plan import load_plan
from pipeline.storage.store import Store
from tests.jobs.site import FakeLabeller, Killed, Site, area_of
from tests.pipeline.containers.make_parquets import parquet_of
from tests.pipeline.containers.make_tars import tar_of


def parquet_of_files(files: Mapping[str, bytes]) -> bytes:
    return parquet_of(list(files.items()))


def first_night(site: Site) -> None:
    site.photos("a", "b", "c")
    site.clicks("01", {("a", "1"): 10, ("a", "2"): 20, ("b", "1"): 30, ("c", "1"): 40})
    (report,) = site.night("2026-01-01")
    assert report.diff is not None
    assert (report.outcome, report.diff.new, len(site.labeller.labelled)) == ("complete", 4, 4)


def test_three_nights_with_new_changed_removed_and_late_clicks(site: Site, tmp_path: Path) -> None:
    first_night(site)
    site.photos("d")
    site.clicks("02", {("d", "1"): 50, ("a", "1"): 12})  # a new object, and one more click on an old one
    (second,) = site.night("2026-01-02")
    assert sorted(site.labeller.labelled) == [("a", "1"), ("d", "1")]
    assert second.diff is not None
    assert (second.diff.new, second.diff.changed, second.diff.unchanged) == (1, 1, 3)
    assert second.diff.mean_iou == pytest.approx(10 / 12)

    site.clicks("01", {("a", "1"): 10, ("b", "1"): 30, ("c", "1"): 40})  # a/2 is gone
    site.clicks("01", {("c", "9"): 60}, file="late")  # arrived in a day that was done
    site.photos("b", content="edited")
    (third,) = site.night("2026-01-03")
    assert sorted(site.labeller.labelled) == [("b", "1"), ("c", "9")]
    assert third.diff is not None
    assert (third.diff.new, third.diff.changed, third.diff.removed, third.diff.unchanged) == (1, 1, 1, 3)

    assert site.exported(tmp_path) == {
        ("a", "1"): area_of(12),
        ("b", "1"): area_of(30),
        ("c", "1"): area_of(40),
        ("c", "9"): area_of(60),
        ("d", "1"): area_of(50),
    }
    status = read_status(Store(site.library.url("runs/2026-01-02"), site.library.storage))
    assert status is not None
    assert (status.shards_done, status.objects_done) == (1, 2)
    rows = pq.read_table(site.library.open_seekable("runs/2026-01-03/diff.parquet")).to_pylist()
    assert {(row["image"], row["object"]): row["kind"] for row in rows} == {
        ("a", "2"): "removed",
        ("b", "1"): "changed",
        ("c", "9"): "new",
    }
    last = json.loads(site.library.read("last.json"))
    assert (last["date"], last["outcome"], last["exit_code"]) == ("2026-01-03", "complete", 0)


def test_a_night_with_nothing_new_starts_nothing(site: Site) -> None:
    first_night(site)
    before = read_state(site.library).nights
    site.labeller.connections = 0
    (report,) = site.night("2026-01-02")
    assert (report.outcome, report.exit_code, report.run) == ("nothing_new", 0, None)
    assert site.labeller.connections == 0
    assert read_state(site.library).nights == before
    assert json.loads(site.library.read("last.json"))["outcome"] == "nothing_new"


def test_what_comes_back_as_it_was_is_not_labelled_again(disk_site: Site, tmp_path: Path) -> None:
    site = disk_site
    first_night(site)
    everything = site.exported(tmp_path)
    site.clicks("01", {("a", "1"): 10})
    (removed,) = site.night("2026-01-02")
    assert removed.diff is not None
    assert (removed.diff.removed, site.exported(tmp_path)) == (3, {("a", "1"): area_of(10)})
    site.clicks("01", {("a", "1"): 10, ("a", "2"): 20, ("b", "1"): 30, ("c", "1"): 40})
    (restored,) = site.night("2026-01-03")
    assert restored.diff is not None
    assert (restored.diff.restored, site.labeller.labelled) == (3, [])
    assert site.exported(tmp_path) == everything


def test_settings_relabel_only_when_asked(disk_site: Site) -> None:
    site = disk_site
    first_night(site)
    site.document["backbone"]["grid"] = 8
    assert site.night("2026-01-02")[0].outcome == "nothing_new"
    site.document["relabel"] = "changed-settings"
    (report,) = site.night("2026-01-03")
    assert report.diff is not None
    assert (report.diff.changed, len(site.labeller.labelled)) == (4, 4)
    assert site.night("2026-01-04")[0].outcome == "nothing_new"


def test_failures_that_may_pass_are_tried_again_and_others_are_not(disk_site: Site, tmp_path: Path) -> None:
    site = disk_site
    site.photos("a", "b", "c")
    site.clicks("01", {("a", "1"): 10, ("b", "1"): 20, ("c", "1"): 30, ("gone", "1"): 40})
    site.labeller.reasons = {
        ("a", "1"): "device_memory",
        ("b", "1"): "image_undecodable",
        ("gone", "1"): "image_missing",
    }
    (report,) = site.night("2026-01-01")
    assert report.diff is not None
    assert report.diff.failed == {"device_memory": 1, "image_missing": 1, "image_undecodable": 1}
    site.labeller.reasons = {}
    site.night("2026-01-02")
    assert site.labeller.labelled == [("a", "1")]
    site.photos("gone")  # it was not there, so it is noticed when it comes
    site.night("2026-01-03")
    assert site.labeller.labelled == [("gone", "1")]
    assert sorted(site.exported(tmp_path)) == [("a", "1"), ("c", "1"), ("gone", "1")]


def test_a_failed_change_keeps_the_old_mask_until_it_succeeds(disk_site: Site, tmp_path: Path) -> None:
    site = disk_site
    first_night(site)
    site.labeller.reasons = {("a", "1"): "internal"}
    site.clicks("02", {("a", "1"): 15})
    site.night("2026-01-02")
    assert site.exported(tmp_path)["a", "1"] == area_of(10)
    site.labeller.reasons = {}
    site.night("2026-01-03")
    assert site.labeller.labelled == [("a", "1")]
    assert site.exported(tmp_path)["a", "1"] == area_of(15)


def test_a_killed_night_goes_on_before_the_next_begins(site: Site, tmp_path: Path) -> None:
    first_night(site)
    site.photos("d", "e", "f", "g")
    site.clicks("02", {(name, "1"): 70.0 for name in "defg"})
    site.labeller.shards_to_live = 1
    with pytest.raises(Killed):
        site.night("2026-01-02")
    assert site.labeller.labelled == [("d", "1"), ("e", "1")]
    site.labeller.shards_to_live = None
    site.clicks("03", {("a", "5"): 80})
    went_on, new = site.night("2026-01-03")
    assert (went_on.date, new.date) == ("2026-01-02", "2026-01-03")
    assert site.labeller.labelled == [("f", "1"), ("g", "1"), ("a", "5")]
    assert len(site.exported(tmp_path)) == 9


def test_a_night_killed_while_planning_is_begun_anew(disk_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site = disk_site
    first_night(site)
    site.clicks("02", {("a", "3"): 70})

    def killed(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.library.nights.write_plan", killed)
        with pytest.raises(Killed):
            site.night("2026-01-02")
    (report,) = site.night("2026-01-02")
    assert site.labeller.labelled == [("a", "3")]
    assert report.run != site.library.url("runs/2026-01-02")  # the sleeping driver may still seal a plan there
    assert [night.state for night in read_state(site.library).nights] == ["finished", "abandoned", "finished"]


def test_a_killed_night_is_not_continued_with_other_settings(disk_site: Site) -> None:
    site = disk_site
    site.photos("a", "b", "c", "d")
    site.clicks("01", {(name, "1"): 10.0 for name in "abcd"})
    site.labeller.shards_to_live = 1
    with pytest.raises(Killed):
        site.night("2026-01-01")
    site.labeller.shards_to_live = None
    site.document["backbone"]["grid"] = 8
    (report,) = site.night("2026-01-02")
    assert report.diff is not None
    assert (report.diff.new, len(site.labeller.labelled)) == (4, 4)


def test_stray_names_among_the_images_that_nothing_clicks_break_no_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Site(Store(str(tmp_path)), FakeLabeller(monkeypatch))
    disk.photos("a", "b")
    for name in (b"\xff\xfe.jpg", b"caf\xe9/x.jpg", b"back\\slash.jpg", "ü #%[1].jpg".encode()):
        path = bytes(tmp_path / "photos") + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(b"x")
    # Where `//` is not `/`, as in S3: the memory's names are as they are written.
    memory = Site(Store(f"memory://{uuid.uuid4().hex}"), FakeLabeller(monkeypatch))
    memory.photos("a", "b", "/zebra.jpg", "/a", "sub//x", "./dot")
    for site in (disk, memory):
        site.clicks("01", {("a", "1"): 10, ("b", "1"): 20})
        monkeypatch.setattr("pipeline.driver.run.run", site.labeller.run)
        assert site.night("2026-01-01")[0].outcome == "complete"
        assert site.labeller.labelled == [("a", "1"), ("b", "1")]
        assert site.night("2026-01-02")[0].outcome == "nothing_new"
        site.photos("a", content="edited")
        site.night("2026-01-03")
        assert site.labeller.labelled == [("a", "1")], "the listing must tell images apart"


def test_one_percent_new_touches_one_percent(disk_site: Site) -> None:
    site = disk_site
    names = [f"{number:03d}" for number in range(100)]
    site.photos(*names)
    site.clicks("01", {(name, str(number)): 10.0 for name in names for number in range(10)})
    site.night("2026-01-01")
    site.clicks("02", {(name, "new"): 20.0 for name in names[:10]})
    site.night("2026-01-02")
    assert site.labeller.labelled == [(name, "new") for name in names[:10]]
    plan = load_plan(Store(site.library.url("runs/2026-01-02")))
    assert plan is not None
    assert (plan.images, plan.objects) == (10, 10)


def test_the_export_is_what_one_run_over_everything_gives(disk_site: Site, tmp_path: Path) -> None:
    first_night(disk_site)
    disk_site.clicks("02", {("b", "7"): 33, ("a", "1"): 44})
    disk_site.night("2026-01-02")
    grown = disk_site.exported(tmp_path)
    disk_site.document["library"] = disk_site.store.url("another")
    disk_site.night("2026-01-03")
    assert disk_site.exported(tmp_path) == grown


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))])
def test_many_random_nights(seed: int, disk_site: Site, tmp_path: Path) -> None:
    """Whatever changes and whenever nights are killed: the export has every object's newest clicks, nothing else."""
    chance, site = random.Random(seed), disk_site
    names = [f"p{number}" for number in range(8)]
    site.photos(*names)
    clicks: dict[tuple[str, str], float] = {("p0", "0"): 5}
    for number in range(1, 9):
        for _ in range(chance.randrange(5)):
            clicks[chance.choice(names), str(chance.randrange(3))] = chance.randrange(1, 100)
        for key in chance.sample(sorted(clicks), min(len(clicks) - 1, chance.randrange(3))):
            del clicks[key]
        site.clicks("01", clicks)
        site.labeller.shards_to_live = chance.choice([None, None, 0, 1])
        try:
            site.night(f"2026-01-{number:02d}")
        except Killed:
            continue
        assert site.exported(tmp_path) == {key: area_of(x) for key, x in clicks.items()}
    site.labeller.shards_to_live = None
    site.night("2026-02-01")
    assert site.exported(tmp_path) == {key: area_of(x) for key, x in clicks.items()}
    assert site.night("2026-02-02")[0].outcome == "nothing_new"


def test_images_of_any_name_keep_one_order_everywhere(site: Site, tmp_path: Path) -> None:
    """Clicks, listing and index are merged by name: a different order in one of them would lose objects."""
    names = ["a.jpg", "a-b/c", "a/b", "a.b", "A", "Z/1", "ä", "漢", "\U0001f600", "a b", "a+b", "~"]
    site.photos(*names)
    site.clicks("01", {(name, "1"): 10.0 for name in names})
    site.night("2026-01-01")
    assert site.night("2026-01-02")[0].outcome == "nothing_new"
    assert sorted(site.exported(tmp_path)) == sorted((name, "1") for name in names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"library": None}, "library: found None"),
        ({"output": "s3://b/x"}, "output: found 's3://b/x'; a nightly has `library` instead"),
        ({"relabel": "always"}, "relabel: found 'always'"),
        ({"lease_expires_s": 0}, "lease_expires_s: found 0"),
        ({"backbone": {"name": "colour", "size": 3}}, "backbone.size: unknown key"),
        ({"nonsense": 1}, "nonsense: unknown key"),
    ],
)
def test_what_is_wrong_in_a_nightly_file_is_named(change: dict[str, object], message: str, disk_site: Site) -> None:
    disk_site.document |= change
    with pytest.raises(InvalidJob, match=f"nightly.yaml: {message}"):
        disk_site.night("2026-01-01")


@pytest.mark.parametrize(("suffix", "container_of"), [(".tar", tar_of), (".parquet", parquet_of_files)])
def test_of_containers_only_the_images_of_those_that_were_replaced_are_labelled_again(
    site: Site, suffix: str, container_of: Callable[[Mapping[str, bytes]], bytes]
) -> None:
    def put(name: str, **files: bytes) -> None:
        site.store.put(f"photos/{name}{suffix}", container_of(files))

    one, other = f"one{suffix}", f"other{suffix}"
    site.document["images"] = site.store.url(f"photos/*{suffix}")
    put("one", a=b"a", b=b"b")
    put("other", c=b"c")
    put("one-more", z=b"z")  # in no click, and before the others as keys are sorted
    site.clicks("01", {(f"{one}/a", "1"): 10, (f"{one}/b", "1"): 20, (f"{other}/c", "1"): 30})
    (first,) = site.night("2026-01-01")
    assert (first.outcome, len(site.labeller.labelled)) == ("complete", 3)
    (idle,) = site.night("2026-01-02")
    assert (idle.outcome, site.labeller.labelled) == ("nothing_new", [])

    put("one", a=b"a", b=b"another b")
    site.clicks("03", {(f"{other}/new", "1"): 40})
    put("other-too", d=b"d")
    (third,) = site.night("2026-01-03")
    assert site.labeller.labelled == [(f"{one}/a", "1"), (f"{one}/b", "1"), (f"{other}/new", "1")]
    assert third.diff is not None
    assert (third.diff.new, third.diff.changed, third.diff.unchanged) == (1, 2, 1)
    assert len(list(site.library.listing("plan/containers"))) == 5, "an index a container, made once for all nights"
    night = site.nightly.job.of_a_night(output=site.library.url("runs/2026-01-03"))
    assert night.image_source is site.nightly.job.image_source, "a worker's are the same ones"
