"""The clicks of a page: what is clicked is saved, survives, and disturbs nobody else's rows."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clicks import WRITTEN_WITH_BOXES, InvalidClicks
from pipeline.inputs.click_files import find_click_files
from pipeline.inputs.click_table import ClickTable
from pipeline.page.click_book import ClickBook
from pipeline.page.page_object import InvalidChange, PageObject
from pipeline.storage.store import Store

ROOTS = ["/photos"]


def cat(*clicks: list[float]) -> dict[str, Any]:
    return {"category": "cat", "clicks": list(clicks)}


def state(book: ClickBook, images: str = "ab") -> dict[str, list[PageObject]]:
    return {image: book.objects(image) for image in images}


def test_clicks_become_a_file_that_a_run_reads(tmp_path: Path) -> None:
    book = ClickBook(tmp_path / "clicks.parquet", ROOTS)
    book.change("a.jpg", {"tom": cat([1.5, 2, 1], [9, 9, 0])})
    book.change("b/c.jpg", {"1": {"category": "dog", "clicks": [[3, 4, 1]]}})
    book.change("b/c.jpg", {"1": {"category": "dog", "clicks": []}, "rex": {"category": "dog", "clicks": [[3, 4, 1]]}})
    book.close()
    files = find_click_files([str(tmp_path)], Store(""))
    with ClickTable(files, Store(""), ROOTS) as table:
        found = [
            (each.object, each.category, [c["label"] for c in each.clicks])
            for _, objects in table.by_image()
            for each in objects
        ]
    assert found == [("tom", "cat", [True, False]), ("rex", "dog", [True])]


def test_reopened_it_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "clicks.parquet"
    book = ClickBook(path, ROOTS)
    book.change("a", {"1": cat([1, 1, 1])})
    book.mark_done("a", True)
    before = state(book)
    book.close()
    again = ClickBook(path, ROOTS)
    assert (state(again), again.is_done("a"), again.clicked(), again.categories) == (before, True, {"a"}, ["cat"])
    assert again.unsaved == 0
    again.close()


CHANGE = st.tuples(
    st.sampled_from("ab"),
    st.sampled_from(["1", "2"]),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 1)).map(list), max_size=3),
    st.booleans(),
)


@given(changes=st.lists(CHANGE, min_size=1, max_size=8), data=st.data())
@settings(max_examples=25, deadline=None)
@patch("os.fsync", lambda _: None)
def test_killed_at_any_byte_no_acknowledged_click_is_lost(changes: list[Any], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder) / "c.parquet", Path(folder) / ".c.parquet.log"
        book = ClickBook(path, ROOTS)
        for number, (image, name, clicks, saves) in enumerate(changes):
            if number == len(changes) - 1:
                acknowledged, known = log.stat().st_size, state(book)
            book.change(image, {name: cat(*clicks)})
            if saves:
                before_marker = log.read_bytes()
                book.save()
        killed = Path(folder) / "killed"
        killed.mkdir()
        if path.exists():
            shutil.copy(path, killed)
        whole = log.read_bytes()
        if changes[-1][3]:  # killed after the file was replaced, anywhere before the log says so
            whole = whole[: data.draw(st.integers(len(before_marker), len(whole)))]
            known = state(book)
        else:
            killed_at = data.draw(st.integers(acknowledged, len(whole)))
            known = state(book) if killed_at == len(whole) else known
            whole = whole[:killed_at]
        (killed / log.name).write_bytes(whole)
        again = ClickBook(killed / "c.parquet", ROOTS)
        assert {image: sorted(objects, key=repr) for image, objects in state(again).items()} == {
            image: sorted(objects, key=repr) for image, objects in known.items()
        }
        again.close()
        book.close()


def test_rows_and_columns_of_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "clicks.parquet"
    rows = {
        "image": ["/photos/a", "b", "b"],
        "object": [7, 8, 9],
        "x": [1, 2, 3],
        "y": [1, 2, 3],
        "who": ["x", "y", "z"],
    }
    pq.write_table(pa.table(rows), path)
    book = ClickBook(path, ROOTS)
    assert book.objects("a") == [PageObject("7", "object", ((1.0, 1.0, True),))]
    book.change("b", {"8": cat([5, 5, 1])})
    book.save()
    extra = pa.table({**{name: values[:1] for name, values in rows.items()}, "object": [10]})
    pq.write_table(pa.concat_tables([pa.table(rows), extra]), path)  # another program, meanwhile
    book.change("b", {"9": cat()})
    book.close()
    found = pq.read_table(path)
    assert list(zip(*(found[name].to_pylist() for name in ("image", "object", "x", "who")), strict=True)) == [
        ("/photos/a", "7", 1.0, "x"),
        ("/photos/a", "10", 1.0, "x"),
        ("b", "8", 5.0, None),
    ]


def test_an_object_that_is_edited_keeps_its_box(tmp_path: Path) -> None:
    path, edges = tmp_path / "clicks.parquet", {"box_x0": [2], "box_y0": [4], "box_x1": [12], "box_y1": [14]}
    rows = {"image": ["a"], "object": ["1"], "x": [None], "y": [None], "label": [True], "category": ["cat"], **edges}
    pq.write_table(pa.table(rows).cast(WRITTEN_WITH_BOXES), path)
    book, box = ClickBook(path, ROOTS), (2.0, 4.0, 12.0, 14.0)
    assert book.objects("a") == [PageObject("1", "cat", ((6.5, 8.5, True),), box)], "its centre is its click"
    book.change("a", {"1": cat([6.5, 8.5, 1], [3, 3, 0]), "2": cat([1, 1, 1])})
    book.save()
    book.change("a", {"1": cat([7, 7, 1])})
    again = _as_after_a_kill(path, tmp_path / "killed")
    assert again.objects("a") == book.objects("a")
    again.close()
    book.close()
    found = [(row["object"], row["x"], row["box_x0"], row["box_y1"]) for row in pq.read_table(path).to_pylist()]
    assert found == [("1", 7, 2, 14), ("2", 1, None, None)]
    with ClickTable(find_click_files([str(path)], Store("")), Store(""), ROOTS) as table:
        [(_, objects)] = table.by_image()
    assert [(each.object, each.box, each.failure) for each in objects] == [("1", box, None), ("2", None, None)]


def test_an_object_that_takes_the_name_of_a_removed_one_does_not_take_its_box(tmp_path: Path) -> None:
    path = tmp_path / "clicks.parquet"
    book = ClickBook(path, ROOTS)
    book.change("a", {"1": {**cat([5, 5, 1]), "box": [2, 2, 9, 9]}})
    book.change("a", {"1": {**cat(), "box": [2, 2, 9, 9]}})
    book.change("a", {"1": {**cat([30, 30, 1]), "box": None}})
    book.close()
    assert "box_x0" not in pq.read_table(path).schema.names


def _as_after_a_kill(path: Path, folder: Path) -> ClickBook:
    """The book that another page would open, had this one been killed."""
    folder.mkdir()
    for name in (path.name, f".{path.name}.log"):
        shutil.copy(path.parent / name, folder)
    return ClickBook(folder / path.name, ROOTS)


@pytest.mark.parametrize(
    ("objects", "found"),
    [
        ({"1": {"category": "", "clicks": []}}, "category: found ''"),
        ({"1": {"category": "a", "clicks": [[1, 2]]}}, r"found click \[1, 2\]"),
        ({"1": {"category": "a", "clicks": [[1, float("nan"), 1]]}}, "finite numbers"),
        ({"1": {"category": "a", "clicks": [[1, 2, 3]]}}, "label 0 or 1"),
        ({"1": {"category": "a", "clicks": [[1, 2, 1]], "box": [5, 5, 5, 9]}}, "with an area, or none"),
        ({"1": {"category": "a", "clicks": [[1, 2, 1]], "box": [5, "5", 6, 9]}}, "with an area, or none"),
    ],
)
def test_what_is_no_change_changes_nothing(tmp_path: Path, objects: Any, found: str) -> None:
    book = ClickBook(tmp_path / "c.parquet", ROOTS)
    with pytest.raises(InvalidChange, match=found):
        book.change("a", objects)
    assert (book.objects("a"), book.unsaved) == ([], 0)
    book.close()
    assert not (tmp_path / "c.parquet").exists()


def test_a_file_that_is_none_of_clicks_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"picture": ["a"]}), path)
    with pytest.raises(InvalidClicks, match="column image is missing"):
        ClickBook(path, ROOTS)
