"""Reviewing: the queue's order, decisions that survive and go beside the run, once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from pipeline.config import InvalidJob
from pipeline.export.decisions import FOLDER, read_decisions
from pipeline.page.append_log import LogInUse
from pipeline.page.page_object import InvalidChange
from pipeline.page.review_desk import ReviewDesk
from pipeline.review.queue import ReviewQueue
from pipeline.review.source import open_source
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from tests.pipeline.review.gallery import Drawn, Gallery, draw_run
from tests.s3_server import S3Server

GALLERY: Gallery = {
    **{(f"{number}.png", "thing"): Drawn(score=0.5 + number / 20) for number in range(6)},
    ("0.png", "over"): Drawn((12, 12, 32, 32), score=0.95),
    ("6.png", "outside"): Drawn(failure="click_outside"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return draw_run(Store(str(tmp_path_factory.mktemp("run"))), GALLERY).output_store


@pytest.fixture
def desk(run: Store, tmp_path: Path) -> Iterator[ReviewDesk]:
    desk = ReviewDesk(run, tmp_path / "log")
    yield desk
    desk.close()


def test_objects_come_in_the_queues_order(desk: ReviewDesk, run: Store) -> None:
    with open_source(run) as source, ReviewQueue(source) as queue:
        order = [(row["image"], row["object"], row["reasons"]) for row in queue.rows()]
    assert [(row["image"], row["object"], row["reasons"]) for row in desk.rows(0, 99)] == order
    assert [row["rank"] for row in desk.rows(2, 3)] == [3, 4, 5]
    assert desk.total == len(GALLERY)
    doubtful = {row["image"] for row in desk.rows(0, 99) if row["reasons"]}
    assert {name for name, _ in GALLERY if name in desk.doubtful} == doubtful >= {"0.png", "6.png"}


def test_an_image_shows_all_its_objects_with_the_clicks_that_were_planned(desk: ReviewDesk) -> None:
    over, thing = desk.objects("0.png")
    assert (over.name, over.clicks, thing.name) == ("over", ((22.0, 22.0, True),), "thing")
    assert thing.rle is not None
    assert list(thing.rle["size"]) == [72, 96]
    assert desk.objects("6.png")[0].rle is None


def test_decisions_survive_and_go_beside_the_run_once(run: Store, tmp_path: Path) -> None:
    desk = ReviewDesk(run, tmp_path / "log")
    with pytest.raises(LogInUse):
        ReviewDesk(run, tmp_path / "log")
    desk.decide("1.png", "thing", "reject", "too much")
    desk.decide("2.png", "thing", "accept", None)
    desk.decide("2.png", "thing", "undecided", None)
    killed = (tmp_path / "log").read_bytes()
    assert not list(run.listing(FOLDER))
    (tmp_path / "after").write_bytes(killed)
    again = ReviewDesk(run, tmp_path / "after")  # it sends what the killed one did not
    (entry,) = run.listing(FOLDER)
    again.close()
    verdicts = {row["image"]: (row["verdict"], row["said"]) for row in again_rows(run, tmp_path)}
    assert (verdicts["1.png"], verdicts["2.png"]) == (("reject", "too much"), (None, None))
    desk.close()  # as if both had sent the same ones
    assert [each.key for each in run.listing(FOLDER)] == [entry.key]
    assert read_decisions(run).about("1.png", "thing", None) is None


def test_storage_that_goes_silent_keeps_nobody_from_deciding(s3: S3Server, tmp_path: Path) -> None:
    storage = Storage(endpoint_url=s3.endpoint_url, give_up_s=60.0, request_timeout_s=2.0)
    run = draw_run(Store(f"{s3.bucket('review')}/silent/", storage), GALLERY).output_store
    desk, folder = ReviewDesk(run, tmp_path / "log"), tmp_path / "killed"
    desk.decide("1.png", "thing", "reject", "too much")
    s3.freeze()
    try:
        sending = Thread(target=desk.send)
        sending.start()
        time.sleep(0.5)
        desk.decide("2.png", "thing", "accept", None)
        assert [row["verdict"] for row in desk.rows(0, 99) if row["image"] == "2.png"] == ["accept"]
        assert sending.is_alive(), "the first one is still on its way"
    finally:
        s3.thaw()
    sending.join()
    folder.mkdir()
    (folder / "log").write_bytes((tmp_path / "log").read_bytes())
    assert len(list(run.listing(FOLDER))) == 1
    ReviewDesk(run, folder / "log").close()  # as after a kill: the second one is sent, and it alone
    assert len(list(run.listing(FOLDER))) == 2
    desk.close()  # as if both had sent the second one
    assert len(list(run.listing(FOLDER))) == 2


def again_rows(run: Store, folder: Path) -> list[dict[str, object]]:
    desk = ReviewDesk(run, folder / "third")
    rows = desk.rows(0, 99)
    desk.close()
    return rows


def test_what_is_no_decision_is_refused(desk: ReviewDesk) -> None:
    with pytest.raises(InvalidChange, match="verdict: found 'maybe'; allowed: accept, reject, undecided"):
        desk.decide("1.png", "thing", "maybe", None)
    with pytest.raises(InvalidChange, match=r"object: found 'nothing' of image '1\.png'"):
        desk.decide("1.png", "nothing", "accept", None)


def test_where_there_is_nothing_to_review_it_says_so(tmp_path: Path) -> None:
    for _ in range(2):  # and leaves the log to the next one
        with pytest.raises(InvalidJob, match="neither a run"):
            ReviewDesk(Store(str(tmp_path)), tmp_path / "log")
