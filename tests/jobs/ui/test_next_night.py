"""What is fixed in the page, the next night makes anew: real nights, on a real Ray, with a model without weights."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pipeline.library.config import Nightly, parse_nightly
from pipeline.library.export import labels_of_library
from pipeline.library.nights import run_nights
from pipeline.library.report import NightReport
from pipeline.storage.store import Store
from tests.jobs.ui.site import draw_photos, page_over
from tests.pipeline.make_data import click_rows, parquet

Key = tuple[str, str]


def night(nightly: Nightly, date: str) -> NightReport:
    (report,) = run_nights(nightly, date, lambda job: nullcontext(), threading.Event(), lambda snapshot: None)
    return report


def masks(library: Store) -> dict[Key, Any]:
    with labels_of_library(library) as labels:
        rows = [row for image in labels.images(["rle"]) for row in image.rows]
    return {(row["image"], row["object"]): row["rle"]["counts"] for row in rows}


def test_the_next_night_labels_what_was_fixed_and_nothing_else(local_ray: None, tmp_path: Path) -> None:
    folder = Store(str(tmp_path))
    draw_photos(tmp_path / "photos", ["a.png", "b.png"])
    folder.put("clicks/first.parquet", parquet([*click_rows("a.png"), *click_rows("b.png")]))
    document = {"images": folder.url("photos"), "clicks": folder.url("clicks/*.parquet")}
    document |= {"library": folder.url("library"), "backbone": {"name": "colour", "grid": 12}}
    nightly = parse_nightly({**document, "workers": {"count": 1, "gpus": 0}}, "nightly.yaml")
    assert night(nightly, "2026-01-01").outcome == "complete"
    before = masks(nightly.store)

    fixed = tmp_path / "clicks" / "fixed.parquet"
    with page_over(tmp_path / "photos", fixed, nightly.store) as page:
        assert page.review is not None
        desk = page.review.result(60)
        [planned] = [each.clicks for each in desk.objects("a.png") if each.name == "0"]
        x, y, _ = planned[0]
        page.change("a.png", {"0": {"category": "red", "clicks": [[x + 4, y + 4, 0]]}})  # beside it, says the page
        desk.decide("a.png", "0", "reject", "fixed")
        assert [row["verdict"] for row in desk.rows(0, 9) if row["image"] == "a.png"].count("reject") == 1

    second = night(nightly, "2026-01-02")
    assert second.outcome == "complete"
    assert second.diff is not None
    assert (second.diff.changed, second.diff.new, second.diff.unchanged) == (1, 0, 3)
    after = masks(nightly.store)
    assert {key for key, mask in after.items() if mask != before[key]} == {("a.png", "0")}
    with page_over(tmp_path / "photos", fixed, nightly.store) as page:
        assert page.review is not None
        assert {row["verdict"] for row in page.review.result(60).rows(0, 9)} == {None}, "that mask is no more"
    assert night(nightly, "2026-01-03").outcome == "nothing_new"
