"""Identifiers of a library's exports: given once and kept, whatever later nights bring, take away or bring back."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from jobs.cli import main
from pipeline.clicks import InvalidClicks
from pipeline.config import InvalidJob
from pipeline.export.coco import export_coco
from pipeline.library.export import labels_of_library
from pipeline.library.ledger import read_state
from pipeline.library.nights import Wishes
from pipeline.storage.store import Store
from tests.jobs.site import Killed, Site
from tests.pipeline.make_data import parquet
from tests.pipeline.read_coco import placed


def export(site: Site, tmp_path: Path) -> dict[str, int]:
    """Identifier of every category, image and object."""
    with labels_of_library(site.library) as labels:
        export_coco(labels, Store(""), str(tmp_path / "out.json"))
    found = placed((tmp_path / "out.json").read_bytes())
    return {key: value["id"] if isinstance(value, dict) else int(str(value)) for key, value in found.items()}


def put(site: Site, day: str, rows: list[tuple[str, str, str]]) -> None:
    """Clicks (image, object, category) of a day."""
    site.photos(*{image for image, _, _ in rows})
    clicks = [{"image": i, "object": o, "category": c, "x": 10.0, "y": 1.0} for i, o, c in rows]
    site.store.put(f"clicks/dt={day}/a.parquet", parquet(clicks))


def test_a_later_night_moves_no_identifier(disk_site: Site, tmp_path: Path) -> None:
    site = disk_site
    put(site, "01", [("m.jpg", "1", "cat"), ("z.jpg", "1", "cat")])
    site.night("2026-01-01")
    first = export(site, tmp_path)
    assert first == {
        **{"category cat": 1, "image m.jpg": 1, "image z.jpg": 2},
        **{"object m.jpg 1": 1, "object z.jpg 1": 2},
    }
    put(site, "02", [("a.jpg", "1", "apple"), ("m.jpg", "0", "apple")])
    site.night("2026-01-02")
    second = export(site, tmp_path)
    assert first.items() <= second.items()
    assert second["category apple"] == 2
    assert second["image a.jpg"] == 3


def test_what_is_removed_leaves_a_gap_and_comes_back_to_it(disk_site: Site, tmp_path: Path) -> None:
    site = disk_site
    put(site, "01", [("a", "1", "cat"), ("b", "1", "dog"), ("c", "1", "cat")])
    site.night("2026-01-01")
    first = export(site, tmp_path)
    put(site, "01", [("b", "1", "dog"), ("d", "1", "elk")])
    site.night("2026-01-02")
    second = export(site, tmp_path)
    assert second["image d"] == 4
    assert second["object b 1"] == first["object b 1"]
    put(site, "01", [("a", "1", "cat"), ("b", "1", "dog"), ("c", "1", "cat"), ("d", "1", "elk")])
    site.night("2026-01-03")
    assert (first | second).items() <= export(site, tmp_path).items()


def test_random_nights_never_give_a_number_twice_or_to_another(disk_site: Site, tmp_path: Path) -> None:
    site, chance = disk_site, random.Random(7)
    ever: dict[str, int] = {}
    for number in range(1, 6):
        rows = {(chance.choice("abcdef"), chance.choice("12")): chance.choice(["cat", "dog", "elk"]) for _ in range(6)}
        put(site, "01", [(image, name, category) for (image, name), category in sorted(rows.items())])
        site.night(f"2026-01-{number:02d}")
        now = export(site, tmp_path)
        assert all(now[key] == value for key, value in ever.items() if key in now)
        ever |= now
    for kind in ("category", "image", "object"):
        numbers = [value for key, value in ever.items() if key.startswith(f"{kind} ")]
        assert len(numbers) == len(set(numbers))


def test_only_nights_with_new_names_add_a_file(disk_site: Site) -> None:
    site = disk_site
    put(site, "01", [("a", "1", "cat")])
    site.night("2026-01-01")
    site.photos("a", content="edited")
    site.night("2026-01-02")
    assert [bool(night.registry) for night in read_state(site.library).nights] == [True, False]


def test_a_library_without_a_registry_keeps_the_numbers_that_its_export_had(
    disk_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = disk_site
    put(site, "01", [("m", "1", "dog"), ("z", "1", "cat")])
    with monkeypatch.context() as version_0_1:
        version_0_1.setattr("pipeline.library.nights.register_night", lambda *arguments: None)
        site.night("2026-01-01")
    before = export(site, tmp_path)
    assert before["category cat"] == before["image m"] == 1
    put(site, "02", [("a", "1", "ape"), ("m", "0", "ape")])
    site.night("2026-01-02")
    after = export(site, tmp_path)
    assert before.items() <= after.items()
    assert (after["category ape"], after["image a"]) == (3, 3)


def test_a_part_of_a_library_that_is_gone_is_said_and_ends_the_export_with_1(
    disk_site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = disk_site
    put(site, "01", [(name, "1", "cat") for name in "abcd"])
    site.night("2026-01-01")
    whole = export(site, tmp_path)
    (Path(site.library.root) / "runs/2026-01-01/parts/shard-00000.parquet").unlink()
    assert main(["export", site.library.root, "--to", str(tmp_path / "rest.json")]) == 1
    assert "1 parts were not there, such as runs/2026-01-01/parts/shard-00000.parquet" in capsys.readouterr().err
    assert export(site, tmp_path).items() <= whole.items()


def give(site: Site, *categories: tuple[int, str], **keys: str) -> None:
    """A file of categories for the nights that follow, and other keys of their configuration."""
    document = [{"id": number, "name": name, "supercategory": "animal"} for number, name in categories]
    site.store.put("categories.json", json.dumps(document).encode())
    site.document |= {"categories": site.store.url("categories.json")} | keys


def test_a_library_begins_with_the_categories_that_it_is_given_and_keeps_their_order(
    disk_site: Site, tmp_path: Path
) -> None:
    site = disk_site
    put(site, "01", [("a", "1", "cat"), ("b", "1", "yak")])
    give(site, (17, "dog"), (3, "cat"), unknown_categories="add")
    site.night("2026-01-01")
    give(site, (40, "ape"), (3, "cat"), (17, "dog"))
    put(site, "02", [("c", "1", "ape")])
    site.night("2026-01-02")
    with labels_of_library(site.library) as labels:
        assert list(labels.categories.items()) == [("dog", 17), ("cat", 3), ("yak", 18), ("ape", 40)]
        assert labels.supercategories == dict.fromkeys(["dog", "cat", "ape"], "animal")
    assert export(site, tmp_path)["category ape"] == 40


@pytest.mark.parametrize(
    ("version_0_1", "category", "message"),
    [
        (True, (2, "cat"), "element 0: id: found 2 for 'cat', which has 1 in the library, and .* allowed: 1"),
        (
            False,
            (1, "ape"),
            "element 0: id: found 1 for 'ape', which 'cat' has in the library, and .* allowed: one above 2",
        ),
    ],
)
def test_categories_that_contradict_the_library_stop_the_night_before_it_labels(
    disk_site: Site, monkeypatch: pytest.MonkeyPatch, version_0_1: bool, category: tuple[int, str], message: str
) -> None:
    site = disk_site
    put(site, "01", [("a", "1", "cat"), ("b", "1", "dog")])
    with monkeypatch.context() as patched:
        if version_0_1:
            patched.setattr("pipeline.library.nights.register_night", lambda *arguments: None)
        site.night("2026-01-01")
    put(site, "02", [("c", "1", category[1])])
    give(site, category, unknown_categories="add")
    with pytest.raises(InvalidJob, match=rf"^categories: .*categories\.json: {message}$"):
        site.night("2026-01-02")
    assert site.labeller.labelled == []


def test_a_night_refuses_a_category_that_it_does_not_know(site: Site) -> None:
    put(site, "01", [("a", "1", "cat"), ("b", "1", "dgo")])
    give(site, (17, "dog"), (3, "cat"))
    with pytest.raises(InvalidClicks, match=r"a\.parquet, row \d: column category: found 'dgo'.*allowed: 'dog', 'cat'"):
        site.night("2026-01-01")
    assert site.labeller.labelled == []


def test_an_open_night_of_other_categories_is_begun_anew(disk_site: Site) -> None:
    site = disk_site
    put(site, "01", [(name, "1", "cat") for name in "abcdef"])
    give(site, (3, "cat"))
    site.labeller.shards_to_live = 1
    with pytest.raises(Killed):
        site.night("2026-01-01")
    site.labeller.shards_to_live = None
    site.document["lease_expires_s"] = 1
    give(site, (4, "cat"))
    reports = site.night("2026-01-02", wishes=Wishes(wait_for_lease_s=30))
    assert [report.date for report in reports] == ["2026-01-02"]
    with labels_of_library(site.library) as labels:
        assert labels.categories == {"cat": 4}
