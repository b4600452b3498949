"""The report's page: what it says, that it needs nothing else, that nobody's names can do anything in it."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from jobs.cli import main
from pipeline.config import Job, Limits
from pipeline.export.coco import export_coco
from pipeline.library.settle import DIFF
from pipeline.review.queue import ReviewQueue
from pipeline.review.report.contact_sheets import Card, Images, contact_sheets
from pipeline.review.report.report import write_report
from pipeline.review.source import Source, open_source
from pipeline.storage.retry import StoreUnavailable
from pipeline.storage.store import Store
from pipeline.worker.images import fetch_image
from tests.pipeline.make_data import parquet
from tests.pipeline.review.gallery import Drawn, Gallery, draw_run

HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)> $\\frac{"
GALLERY: Gallery = {
    **{(f"{number:03d}.png", "plain"): Drawn(score=0.5 + number / 100) for number in range(30)},
    ("000.png", "over plain"): Drawn((20, 10, 40, 30), score=0.97),
    ("001.png", HOSTILE): Drawn((50, 10, 70, 30), score=0.01, category=HOSTILE),
    (f"{HOSTILE.replace('/', '')}.png", "named badly"): Drawn(score=0.02),
    ("003.png", "outside"): Drawn(failure="click_outside"),
    ("crash.png", "killer"): Drawn(failure="worker_crash"),
    ("gone.png", "orphan"): Drawn(score=0.03),
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = draw_run(Store(str(tmp_path_factory.mktemp("run"))), GALLERY, without_photos=["gone.png"])
    job.output_store.put("diff.json", json.dumps({"new": 3, "changed": 12, "mean_iou": 0.875}).encode())
    stages = {"fingerprint": fingerprint(job), "seconds": {"attention": 30, "masks": 10}}
    job.output_store.put("status/stages.json", json.dumps(stages).encode())
    changes = [{"image": "005.png", "object": "plain", "kind": "changed", "reason": None, "iou": 0.25}]
    job.output_store.put("diff.parquet", parquet(pa.Table.from_pylist(changes, schema=DIFF)))
    return job


def fingerprint(job: Job) -> str:
    plan: str = json.loads(job.output_store.read("plan/plan.json"))["fingerprint"]
    return plan


@pytest.fixture(scope="module")
def source(job: Job) -> Iterator[Source]:
    with open_source(job.output_store) as source:
        yield source


@pytest.fixture(scope="module")
def queue(source: Source) -> Iterator[ReviewQueue]:
    with ReviewQueue(source) as queue:
        yield queue


@pytest.fixture(scope="module")
def images(job: Job) -> Images:
    return Images(job.image_source_for_a_look, job.limits, "stored")


@pytest.fixture(scope="module")
def page(source: Source) -> str:
    address = write_report(source, source.store)
    return Path(address).read_text()


class Tags(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_says_what_there_is(page: str) -> None:
    text = " ".join(Tags(page).text.split())
    assert "33 images 36 objects 34 masks 2 without a mask, 5.6%" in text
    assert "Lowest scores 24 of 34" in text
    assert "Drawn at random 24 of 34 masks" in text
    assert "50% shared with plain" in text
    assert "worker crash 1 object" in text
    assert "told to: <b>click_outside</b>" in text
    assert "gone.png: there is no such object" in text
    assert "40 seconds of all workers' threads" in text
    assert "fingerprint" in text
    assert "3 new 12 changed 0.875 mean IoU of old and new masks" in text
    assert "Changed by the last night 1 of 1" in text
    assert "changed, IoU with the old mask 0.25" in text


def test_names_can_do_nothing(page: str) -> None:
    tags = Tags(page)
    assert not [tag for tag, _ in tags.tags if tag == "script"]
    assert not [attributes for _, attributes in tags.tags if any(name.startswith("on") for name in attributes)]
    assert HOSTILE in tags.text
    for _, attributes in tags.tags:
        assert not (attributes.get("href") or "#").lower().startswith("javascript")


def test_it_needs_nothing_else(page: str) -> None:
    loads = [
        attributes[name]
        for tag, attributes in Tags(page).tags
        for name in ("src", "href", "xlink:href", "data")
        if tag != "a" and name in attributes
    ]
    assert len(loads) > 30
    assert all(address and address.startswith(("data:image/jpeg;base64,", "#")) for address in loads)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "default-src 'none'" in page


def test_ids_are_different_although_several_charts_have_the_same(page: str) -> None:
    found = [attributes["id"] for _, attributes in Tags(page).tags if "id" in attributes]
    assert len(found) == len(set(found)) > 20


def test_scores_are_held_against_the_truth_where_it_is_known(job: Job, tmp_path: Path) -> None:
    truth, page = tmp_path / "truth.json", tmp_path / "index.html"
    with open_source(job.output_store) as source:
        export_coco(source.labels, Store(""), str(truth))
    document = json.loads(truth.read_text())
    document["images"] = document["images"][:10]
    kept = {image["id"] for image in document["images"]}
    document["annotations"] = [each for each in document["annotations"] if each["image_id"] in kept]
    truth.write_text(json.dumps(document))
    assert main(["report", job.output, "--to", str(tmp_path), "--truth", str(truth), "--images", "elsewhere"]) == 0
    text = Tags(page.read_text()).text
    assert f"{len(document['annotations'])} masks whose truth is known" in text
    scores = [each["score"] for each in document["annotations"]]
    assert f"mean difference {1 - sum(scores) / len(scores):.3f}" in text  # every mask is its own truth


def test_the_command_makes_the_same_page_of_the_same_labels(job: Job, page: str, tmp_path: Path) -> None:
    assert main(["report", job.output, "--to", str(tmp_path)]) == 0
    assert (tmp_path / "index.html").read_text() == page


def cards(source: Source, queue: ReviewQueue, images: Images | None) -> dict[tuple[str, str], Card]:
    sheets = contact_sheets(source, queue, images)
    return {(card.row["image"], card.row["object"]): card for each in sheets for sheet in each for card in sheet.cards}


def test_what_is_not_looked_at_is_not_fetched_and_every_image_once(
    source: Source, queue: ReviewQueue, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def counting(store: Store, key: str, limits: Limits) -> bytes:
        fetched.append(key)
        return fetch_image(store, key, limits)

    monkeypatch.setattr("pipeline.review.report.contact_sheets.fetch_image", counting)
    found = cards(source, queue, images)
    assert found["crash.png", "killer"].picture is None  # it would end this process as it ended the worker
    assert "crash.png" not in fetched
    assert {"gone.png", "003.png"} <= set(fetched)
    assert len(fetched) == len(set(fetched))


def test_storage_that_does_not_answer_costs_its_patience_once(
    source: Source, queue: ReviewQueue, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def unavailable(store: Store, key: str, limits: Limits) -> bytes:
        asked.append(key)
        raise StoreUnavailable(f"{store.url(key)}: no answer for 300 s")

    monkeypatch.setattr("pipeline.review.report.contact_sheets.FETCHED_AT_ONCE", 1)
    monkeypatch.setattr("pipeline.review.report.contact_sheets.fetch_image", unavailable)
    found = cards(source, queue, images)
    assert len(asked) == 1
    assert {card.picture for card in found.values()} == {None}
    assert "no answer for 300 s" in (found["010.png", "plain"].why or "")


def test_an_image_that_cannot_be_had_is_a_card_without_a_picture(
    source: Source, queue: ReviewQueue, images: Images, tmp_path: Path
) -> None:
    torn = Store(str(tmp_path))
    torn.put("004.png", b"\x89PNG torn")
    torn.put("005.png", images.source.read_one_of_many("005.png", 1_000_000))
    found = cards(source, queue, replace(images, source=torn))
    assert "004.png: not an image" in (found["004.png", "plain"].why or "")
    assert "gone.png: there is no such object" in (found["gone.png", "orphan"].why or "")
    assert found["005.png", "plain"].picture


def test_images_that_nobody_can_place_are_cards_without_pictures(source: Source, queue: ReviewQueue) -> None:
    found = cards(source, queue, None)
    assert {(card.picture, card.why) for card in found.values()} == {
        (None, "where the images are is not known: --images")
    }


CHROMIUM = shutil.which("chromium")
ACCENT, TINTED_GREY = (47, 111, 222), (179, 155, 77)
BROWSERS_OWN = ("google.com", "googleapis.com", "gvt1.com")  # it asks there for itself, whatever page it shows


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")
def test_a_browser_shows_it_without_a_complaint_and_asks_nobody_for_anything(
    source: Source, page: str, tmp_path: Path
) -> None:
    picture, network = tmp_path / "page.png", tmp_path / "network.json"
    assert CHROMIUM
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1280,3600"]
    options += ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
    options += ["--enable-logging=stderr", f"--log-net-log={network}", f"--user-data-dir={tmp_path / 'profile'}"]
    address = Path(source.store.url("report/index.html")).as_uri()
    done = subprocess.run(
        [CHROMIUM, *options, f"--screenshot={picture}", address],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    hosts = set(re.findall(r'"url":"https?://([^/"]+)', network.read_text()))
    assert {host for host in hosts if not host.endswith(BROWSERS_OWN)} == set()
    pixels = np.asarray(Image.open(io.BytesIO(picture.read_bytes())).convert("RGB")).astype(int)
    accent, mask = (np.abs(pixels - colour).max(axis=-1) < 12 for colour in (ACCENT, TINTED_GREY))
    assert accent.sum() > 5000, "the charts are not there"
    assert mask.sum() > 5000, "the masks are not there"
