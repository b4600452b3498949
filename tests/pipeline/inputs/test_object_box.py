"""Boxes in click files: one an object, in the plan only where there are any, and the centre where nobody clicked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.clicks import BOX, InvalidClicks
from pipeline.inputs.click_files import find_click_files
from pipeline.inputs.click_table import ClickTable
from pipeline.parts import Size
from pipeline.plan import read_shard, write_plan
from pipeline.provenance import clicks_digest
from pipeline.shards.shard_file import BOX as PLANNED_BOX
from pipeline.shards.shard_file import ImageClicks
from pipeline.storage.parquet import read_parquet
from pipeline.storage.store import Store
from pipeline.worker.clicks_on_image import placed_on
from tests.pipeline.make_data import parquet

Box = tuple[float | None, ...]
NONE = (None,) * 4


def objects(folder: Path, *rows: tuple[str, float | None, float | None, bool, Box]) -> ImageClicks:
    columns: dict[str, list[Any]] = {
        "image": [],
        "object": [],
        "x": [],
        "y": [],
        "label": [],
        **{name: [] for name in BOX},
    }
    for name, x, y, label, box in rows:
        for column, value in zip(columns.values(), ("a.png", name, x, y, label, *box), strict=True):
            column.append(value)
    kinds = [pa.string(), pa.string(), pa.float64(), pa.float64(), pa.bool_(), *[pa.float64()] * 4]
    fields = [pa.field(name, kind) for name, kind in zip(columns, kinds, strict=True)]
    (folder / "clicks.parquet").write_bytes(parquet(pa.table(columns, schema=pa.schema(fields))))
    store = Store("")
    with ClickTable(find_click_files([str(folder / "clicks.parquet")], store), store, [""]) as table:
        ((image, found),) = table.by_image()
    return ImageClicks(image, tuple(found))


def test_a_box_without_a_click_on_the_object_gives_its_centre(tmp_path: Path) -> None:
    box = (10.0, 4.0, 20.0, 9.0)
    found = objects(
        tmp_path,
        ("alone", None, None, True, box),
        ("beside", 30.0, 5.0, False, box),
        ("clicked", 12.0, 5.0, True, NONE),
        ("clicked", None, None, True, box),
        ("free", 1.0, 2.0, True, NONE),
    )
    clicks = {each.object: [(c["x"], c["y"], c["label"]) for c in each.clicks] for each in found.objects}
    assert clicks == {
        "alone": [(14.5, 6.0, True)],
        "beside": [(14.5, 6.0, True), (30.0, 5.0, False)],
        "clicked": [(12.0, 5.0, True)],
        "free": [(1.0, 2.0, True)],
    }
    assert [each.box for each in found.objects] == [box, box, box, None]
    assert len({clicks_digest(each) for each in found.objects}) == 4


@pytest.mark.parametrize(
    ("box", "other", "reason", "message"),
    [
        ((5, 5, 5, 9), NONE, "bad_box", r"row 0: columns box_x0.*: found \[5.0, 5.0, 5.0, 9.0\]; allowed: finite"),
        ((5, 5, None, 9), NONE, "bad_box", r"found \[5.0, 5.0, None, 9.0\]"),
        ((5, 5, float("nan"), 9), NONE, "bad_box", r"found \[5.0, 5.0, nan, 9.0\]"),
        ((5, 5, 9, 9), (5, 5, 9, 8), "two_boxes", r"row 1 and .*row 0: .*allowed: one"),
    ],
)
def test_what_is_wrong_with_a_box_is_its_objects_failure(
    tmp_path: Path, box: Box, other: Box, reason: str, message: str
) -> None:
    rows = [("bad", 6.0, 6.0, True, box), ("bad", 7.0, 7.0, True, other), ("good", 6.0, 6.0, True, NONE)]
    bad, good = objects(tmp_path, *rows).objects
    assert bad.failure is not None
    assert bad.failure.reason == reason
    assert re.search(message, bad.failure.message)
    assert good.failure is None


def test_part_of_the_columns_is_refused(tmp_path: Path) -> None:
    row = {"image": "a", "object": "1", "x": 1.0, "y": 1.0, "box_x0": 0.0}
    (tmp_path / "clicks.parquet").write_bytes(parquet([row]))
    store = Store("")
    with pytest.raises(InvalidClicks, match="column box_y0 is missing; found box_x0; a box has all four"):
        ClickTable(find_click_files([str(tmp_path / "clicks.parquet")], store), store, [""])


@pytest.mark.parametrize("box", [(1.0, 1.0, 9.0, 9.0), None])
def test_a_plan_has_a_column_of_boxes_only_where_there_are_some(tmp_path: Path, box: Box | None) -> None:
    image = objects(tmp_path, ("1", 5.0, 5.0, True, box or NONE))
    store = Store(str(tmp_path / "out"))
    plan = write_plan(store, "", {}, ["clicks.parquet"], [image], 1)
    assert read_shard(store, plan, 0) == [image]
    (shard,) = (tmp_path / "out" / "plan").glob("shard-*.parquet")
    assert (PLANNED_BOX in read_parquet(shard.read_bytes(), "shard").schema.names) == (box is not None)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (
            (40.0, 0.0, 50.0, 5.0),
            "found box .40, 0, 50, 5. in image 'a.png'; allowed: a box with pixels of 0..40, 0..30",
        ),
        ((0.0, 0.0, 4.0, 4.0), "a click on the object at .20, 20.; allowed: clicks in its box"),
        ((15.0, 15.0, 20.0, 20.0), None),  # within the margin
    ],
)
def test_a_box_lies_on_the_image_around_its_clicks(tmp_path: Path, box: Box, message: str | None) -> None:
    (each,) = objects(tmp_path, ("1", 20.0, 20.0, True, box)).objects
    placed = placed_on(each, Size(40, 30), ["clicks.parquet"])
    assert (placed.failure is None) == (message is None)
    if placed.failure is not None:
        assert placed.failure.reason == "box_outside"
        assert re.search(str(message), placed.failure.message)
