"""What an operator does by hand, its dry run, its record, and what becomes of whoever was at work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import main
from pipeline.config import InvalidJob, parse_job
from pipeline.interventions import skip_image, skipped_images, without_skipped
from pipeline.library.lease import LeaseLost, take_lease
from pipeline.library.ledger import read_state
from pipeline.parts import commit_part, mask_row
from pipeline.plan import Plan, find_or_make_plan, read_shard
from pipeline.storage.store import Store
from tests.jobs.site import Killed, Site, mask_of
from tests.pipeline.make_data import put_dataset


@pytest.fixture
def open_night(disk_site: Site) -> Site:
    """A library whose driver died in its first night."""
    site = disk_site
    site.photos("a.jpg", "b.jpg", "c.jpg")
    site.clicks("01", {(image, "1"): 5.0 for image in ("a.jpg", "b.jpg", "c.jpg")})
    site.labeller.shards_to_live = 1
    with pytest.raises(Killed):
        site.night("2026-01-01")
    site.labeller.shards_to_live = None
    return site


def records(store: Store) -> list[dict[str, Any]]:
    return [json.loads(store.read(entry.key)) for entry in store.listing("interventions")]


def test_an_open_night_is_given_up_and_the_next_one_begins_anew(
    open_night: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    library = open_night.library
    before = read_state(library)
    command = ["abandon", library.root, "--reason", "wrong weights"]
    assert main([*command, "--dry-run"]) == 0
    assert "night 2026-01-01 (runs/2026-01-01) would be given up" in capsys.readouterr().out
    assert read_state(library) == before
    assert records(library) == []

    assert main(command) == 0
    assert read_state(library).open_night is None
    (written,) = records(library)
    assert (written["kind"], written["night"], written["reason"]) == ("abandon", "2026-01-01", "wrong weights")
    open_night.night("2026-01-02")
    assert sorted(open_night.labeller.labelled) == [(f"{name}.jpg", "1") for name in "abc"], "all of them, anew"
    assert main(command) == 2
    assert "no night is open; nothing to abandon" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["abandon", "unlock"])
def test_a_place_without_a_library_is_told_from_a_library_with_nothing_to_do(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(tmp_path / "labells"), "--dry-run"]) == 2
    assert "labells: no library is here; expected ledger/ below it" in capsys.readouterr().err


def test_a_lease_is_ended_and_who_held_it_commits_nothing(disk_site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    library = disk_site.library
    asleep = take_lease(library, 3600, lambda: None)
    assert main(["unlock", library.root, "--dry-run"]) == 0
    assert read_state(library).holder == asleep.holder
    assert main(["unlock", library.root, "--reason", "the head node is gone"]) == 0
    assert f"the lease {asleep.holder.token} of {asleep.holder.host} pid {asleep.holder.pid}" in capsys.readouterr().out
    assert [each["kind"] for each in records(library)] == ["unlock"]
    with take_lease(library, 3600, lambda: None), pytest.raises(LeaseLost):
        asleep.commit([])
    assert main(["unlock", library.root]) == 2
    assert "nobody holds the lease; nothing to unlock" in capsys.readouterr().err


def planned(place: Path) -> tuple[Store, Plan]:
    job = parse_job(put_dataset(Store(str(place)), images=5), "job")  # two images a shard
    return job.output_store, find_or_make_plan(job)


def test_an_image_is_left_out_of_the_shards_that_are_not_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, plan = planned(tmp_path)
    command = ["skip", store.root, "--image", "0003.png", "--reason", "decodes for an hour"]
    assert main([*command, "--dry-run"]) == 0
    assert capsys.readouterr().out == "0003.png: 2 objects would be left out\n"
    assert not skipped_images(store)
    assert main(command) == 0
    skipped = skipped_images(store)
    assert list(skipped) == ["0003.png"]
    assert "decodes for an hour" in skipped["0003.png"].message

    sound, left_out = (without_skipped(image, skipped) for image in read_shard(store, plan, 1))
    assert not any(each.failure for each in sound.objects)
    assert {each.failure.reason if each.failure else None for each in left_out.objects} == {"skipped"}


@pytest.mark.parametrize("image", ["0000.png", "0001.png", "0004.png"])
def test_every_image_is_found_in_its_shard(tmp_path: Path, image: str) -> None:
    store, _ = planned(tmp_path)
    assert skip_image(store, image, "why") == 2


def test_what_is_not_there_or_is_done_is_not_left_out(tmp_path: Path) -> None:
    store, plan = planned(tmp_path)
    for image in ("0000.jpg", "aaaa.png", "zzzz.png"):
        with pytest.raises(InvalidJob, match=f"image '{image}': not in the run"):
            skip_image(store, image, "why")
    images = read_shard(store, plan, 0)
    rows = [mask_row(each, mask_of(5), 0.5, 0.0) for image in images for each in image.objects]
    commit_part(store, plan, 0, images, rows)
    with pytest.raises(InvalidJob, match="its shard 0 is done, and a part never changes"):
        skip_image(store, "0000.png", "why")
    with pytest.raises(InvalidJob, match="no run is here"):
        skip_image(Store(str(tmp_path / "nowhere")), "0000.png", "why")
    assert not skipped_images(store)
