"""The review queue of a run: the order, the reasons, what a budget picks, and that it is the same every time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.failure import REASONS as FAILURES
from pipeline.library.index import open_database
from pipeline.library.settle import DIFF
from pipeline.review.queue import MENDABLE, QUEUE, REASONS, Represented, ReviewQueue
from pipeline.review.source import Source, open_source
from pipeline.review.write_queue import write_queue
from pipeline.storage.store import Store
from tests.pipeline.review.gallery import Drawn, draw_run

PLAIN = {(f"{number:04d}.png", "plain"): Drawn(score=0.8 + number / 1000) for number in range(40)}
ODD = {
    ("0000.png", "poor"): Drawn((40, 10, 60, 30), score=0.2),
    ("0001.png", "bad"): Drawn((40, 10, 60, 30), score=0.1, category='cat, "big"\n'),
    ("0002.png", "outside"): Drawn(failure="click_outside"),
    ("0003.png", "missing"): Drawn(failure="image_missing"),
    ("0010.png", "half over plain"): Drawn((20, 10, 40, 30), score=0.9),
    ("0011.png", "plain again"): Drawn((10, 10, 30, 31), score=0.9),
    ("0012.png", "robbed"): Drawn((40, 10, 60, 30), score=0.9, click=(20, 20)),
    ("0013.png", "huge"): Drawn((31, 0, 96, 72), score=0.9),
    ("0014.png", "changed"): Drawn((40, 10, 60, 30), score=0.9),
}
CHANGES = pa.Table.from_pylist(
    [{"image": "0014.png", "object": "changed", "kind": "changed", "reason": None, "iou": 0.4}], schema=DIFF
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    job = draw_run(Store(str(tmp_path_factory.mktemp("run"))), PLAIN | ODD)
    with open_source(job.output_store) as source:
        yield replace(source, changes=CHANGES)


@pytest.fixture(scope="module")
def queue(source: Source) -> Iterator[ReviewQueue]:
    with ReviewQueue(source) as queue:
        yield queue


@pytest.fixture(scope="module")
def rows(queue: ReviewQueue) -> list[dict[str, Any]]:
    return list(queue.rows())


def names(rows: list[dict[str, Any]], reason: str) -> list[str]:
    return [row["object"] for row in rows if reason in row["reasons"]]


def test_every_object_is_there_once_the_lowest_score_first_and_what_no_click_mends_last(
    rows: list[dict[str, Any]],
) -> None:
    assert sorted((row["image"], row["object"]) for row in rows) == sorted(PLAIN | ODD)
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert [row["object"] for row in rows[:2]] == ["bad", "poor"]
    assert (rows[-1]["object"], rows[-1]["failure"], rows[-1]["reasons"]) == ("missing", "image_missing", [])


def test_the_reasons_come_one_after_another(rows: list[dict[str, Any]]) -> None:
    first = [row["reasons"][0] if row["reasons"] else "none" for row in rows]
    assert list(dict.fromkeys(first)) == [*REASONS, "none"]
    rest = [row["score"] for row in rows if not row["reasons"] and row["failure"] is None]
    assert rest == sorted(rest)


@pytest.mark.parametrize(
    ("reason", "objects"),
    [
        ("no_mask", ["outside"]),
        ("overlap", ["half over plain", "plain"]),
        ("near_duplicate", ["plain", "plain again"]),
        ("lost_click", ["robbed"]),
        ("area_outlier", ["huge"]),
        ("changed", ["changed"]),
    ],
)
def test_every_reason_is_found(rows: list[dict[str, Any]], reason: str, objects: list[str]) -> None:
    assert sorted(names(rows, reason)) == objects


def test_the_reasons_stand_with_their_figures(rows: list[dict[str, Any]]) -> None:
    by_name = {row["object"]: row for row in rows if row["object"] != "plain"}
    assert (by_name["half over plain"]["overlap"], by_name["half over plain"]["overlap_with"]) == (0.5, "plain")
    assert by_name["plain again"]["duplicate"] == pytest.approx(20 / 21)
    assert (by_name["robbed"]["lost_clicks"], by_name["robbed"]["lost_to"]) == (1, "plain")
    assert by_name["huge"]["area_z"] > 10
    assert (by_name["changed"]["change"], by_name["changed"]["change_iou"]) == ("changed", 0.4)


def test_only_failures_of_clicks_that_trying_again_does_not_help_are_for_a_person_with_a_mouse() -> None:
    assert {FAILURES[reason] for reason in MENDABLE} == {("clicks", False), ("segment", False)}


def test_a_budget_has_every_category_and_reason_if_it_is_large_enough(queue: ReviewQueue) -> None:
    assert queue.pick(9) == Represented(groups=9, picked=9)
    picked = list(queue.rows(picked_only=True))
    assert [row["pick"] for row in picked] == list(range(1, 10))
    assert {reason for row in picked for reason in row["reasons"]} == set(REASONS)
    assert queue.pick(2) == Represented(groups=9, picked=4)  # low_score of a cat, no_mask of a thing


def test_a_larger_budget_takes_the_reasons_in_turn(queue: ReviewQueue, rows: list[dict[str, Any]]) -> None:
    queue.pick(16)
    first = [row["reasons"][0] if row["reasons"] else "none" for row in queue.rows(picked_only=True)]
    assert first.count("none") == first.count("low_score") == 4
    queue.pick(1000)
    assert len(list(queue.rows(picked_only=True))) == len(rows) - 1  # no click mends a missing image


def test_the_files_hold_the_queue_and_are_the_same_every_time(
    source: Source, queue: ReviewQueue, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    queue.pick(5)
    write_queue(queue, Store(str(tmp_path / "one")))
    with ReviewQueue(source) as again:
        again.pick(5)
        write_queue(again, Store(str(tmp_path / "other")))
    for name in ("review.parquet", "review.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    table = pq.read_table(tmp_path / "one" / "review.parquet")
    assert table.schema.equals(QUEUE)
    assert table.drop(["pick"]).to_pylist() == [
        {name: value for name, value in row.items() if name != "pick"} for row in rows
    ]
    lines = list(csv.DictReader(io.StringIO((tmp_path / "one" / "review.csv").read_text(), newline="")))
    assert [line["object"] for line in lines] == [row["object"] for row in rows]
    assert lines[0]["category"] == 'cat, "big"\n'
    assert lines[0]["reasons"] == "low_score"
    assert sum(line["pick"] != "" for line in lines) == 5


def test_a_long_sort_draws_no_progress_bar_into_what_the_command_says(tmp_path: Path) -> None:
    with open_database(tmp_path / "any.duckdb") as database:
        assert database.execute("SELECT current_setting('enable_progress_bar')").fetchall() == [(False,)]
