"""The click contract: what stops a run before it starts, and what becomes one object's failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clicks import InvalidClicks, ObjectClicks
from pipeline.inputs import click_table
from pipeline.inputs.click_files import find_click_files
from pipeline.inputs.click_table import ClickTable
from pipeline.storage.store import Store
from tests.pipeline.make_data import parquet


def read(tmp_path: Path, *files: Any, images_root: str = "/photos/") -> list[ObjectClicks]:
    """The objects that a table makes of the files' rows."""
    for number, rows in enumerate(files):
        (tmp_path / f"{number}.parquet").write_bytes(rows if isinstance(rows, bytes) else parquet(rows))
    store = Store("")
    with ClickTable(find_click_files([f"{tmp_path}/*.parquet"], store), store, [images_root]) as table:
        return [each for _, objects in table.by_image() for each in objects]


def click(**changes: Any) -> dict[str, Any]:
    return {"image": "a.jpg", "object": "1", "x": 1.0, "y": 2.0, "label": True, "category": "cat"} | changes


def test_images_are_sorted_and_clicks_keep_their_order_across_files(tmp_path: Path) -> None:
    first = [click(image="b.jpg"), click(image="a.jpg", object="2"), click(image="a.jpg", object="1", x=5.0)]
    second = [click(image="a.jpg", object="2", x=9.0, label=False)]
    objects = read(tmp_path, first, second)
    assert [(each.image, each.object) for each in objects] == [("a.jpg", "2"), ("a.jpg", "1"), ("b.jpg", "1")]
    assert [(each["x"], each["label"]) for each in objects[0].clicks] == [(1.0, True), (9.0, False)]
    assert [(each["file"], each["row"]) for each in objects[0].clicks] == [(0, 1), (1, 0)]


def test_label_and_category_may_be_missing(tmp_path: Path) -> None:
    (only,) = read(tmp_path, [{"image": "a.jpg", "object": 7, "x": 1, "y": 2}])
    assert only.object == "7"
    assert only.category == "object"
    assert only.clicks[0]["label"] is True
    assert only.failure is None


def test_full_addresses_below_the_root_are_the_same_image_as_keys(tmp_path: Path) -> None:
    objects = read(tmp_path, [click(image="s3://b/photos/a.jpg"), click(object="2")], images_root="s3://b/photos/")
    assert {each.image for each in objects} == {"a.jpg"}


@pytest.mark.parametrize(
    ("column", "values", "found"),
    [
        ("x", pa.array(["1"]), "found type string; allowed: float or integer"),
        ("image", pa.array([1]), "found type int64; allowed: string"),
        ("object", pa.array([1.5]), "found type double; allowed: string or integer"),
        ("label", pa.array([0.5]), "found type double; allowed: bool or integer 0/1"),
        ("category", pa.array([3]), "found type int64; allowed: string"),
    ],
)
def test_a_wrong_type_names_file_column_found_and_allowed(
    tmp_path: Path, column: str, values: pa.Array, found: str
) -> None:
    table = pa.Table.from_pylist([click()])
    table = table.set_column(table.schema.get_field_index(column), column, values)
    with pytest.raises(InvalidClicks, match=rf"0\.parquet: column {column}: {found}"):
        read(tmp_path, table)


@pytest.mark.parametrize("column", ["image", "object", "x", "y"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    table = pa.Table.from_pylist([click()]).drop_columns([column])
    with pytest.raises(InvalidClicks, match=rf"0\.parquet: column {column} is missing; found columns: "):
        read(tmp_path, table)


@pytest.mark.parametrize("column", ["image", "object"])
def test_a_row_that_belongs_to_no_object_stops_the_run(tmp_path: Path, column: str) -> None:
    with pytest.raises(InvalidClicks, match=rf"0\.parquet, row 1: column {column}: found None"):
        read(tmp_path, [click(), click(**{column: None})])


def test_no_file_no_row_and_no_parquet_are_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidClicks, match="no such file"):
        find_click_files([f"{tmp_path}/none-*.parquet"], Store(""))
    empty = pa.Table.from_pylist([click()]).slice(0, 0)
    with pytest.raises(InvalidClicks, match="found 0 rows"):
        read(tmp_path, empty)
    with pytest.raises(InvalidClicks, match=r"0\.parquet: not readable as Parquet"):
        read(tmp_path, b"this is not Parquet, although it is named so")


@pytest.mark.parametrize(
    ("rows", "reason", "message"),
    [
        ([click(x=float("nan"))], "bad_coordinate", r"0\.parquet, row 0: columns x, y: found x=nan"),
        ([click(y=None)], "bad_coordinate", r"row 0: columns x, y: found x=1.0, y=None"),
        ([click(label=2)], "bad_label", r"row 0: column label: found 2; allowed: 0, 1"),
        ([click(label=None), click(x=4.0)], "bad_label", r"row 0: column label: found None"),
        ([click(), click(x=3.0, category="dog")], "two_categories", r"row 0 and .*row 1: column category: found 'cat'"),
        ([click(label=False)], "no_foreground", r"row 0: column label: object '1' has only background clicks"),
    ],
)
def test_what_is_wrong_with_one_object_fails_that_object_alone(
    tmp_path: Path, rows: list[dict[str, Any]], reason: str, message: str
) -> None:
    kinds = pa.schema(
        {"image": pa.string(), "object": pa.string(), "x": pa.float64(), "y": pa.float64()}
        | {"label": pa.int64(), "category": pa.string()}
    )
    neighbour = click(object="2")
    table = pa.Table.from_pylist([{**row, "label": _number(row["label"])} for row in [*rows, neighbour]], schema=kinds)
    failed, good = read(tmp_path, table)
    assert good.failure is None
    assert failed.failure is not None
    assert failed.failure.reason == reason
    assert not failed.failure.retryable
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(failed.failure.message)


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64()])
def test_a_coordinate_that_no_image_reaches_is_no_damaged_file(tmp_path: Path, kind: pa.DataType) -> None:
    huge, small = 2**63 - 1, 4
    table = pa.Table.from_pylist([click(object="1"), click(object="2")])
    for name, values in (("x", [huge, small]), ("y", [small, small])):
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, kind))
    far, near = read(tmp_path, table)
    assert [each["x"] for each in far.clicks] == [2.0**63]
    assert [each["x"] for each in near.clicks] == [4.0]


def test_a_huge_label_is_no_small_one(tmp_path: Path) -> None:
    """Its last 63 bits alone would be -1."""
    table = pa.Table.from_pylist([click(object="1"), click(object="2")])
    labels = pa.array([2**64 - 1, 1], pa.uint64())
    wrong, right = read(tmp_path, table.set_column(table.schema.get_field_index("label"), "label", labels))
    assert wrong.failure is not None
    assert "found 9223372036854775807" in wrong.failure.message
    assert right.failure is None


def _number(label: Any) -> int | None:
    return None if label is None else int(label)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("12"), st.integers(0, 50), st.booleans()), min_size=1)
)
def test_every_click_is_there_once_whatever_the_order_of_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int, bool]]
) -> None:
    rows = list(dict.fromkeys(rows))
    table = [click(image=image, object=name, x=float(x), label=label) for image, name, x, label in rows]
    objects = read(tmp_path_factory.mktemp("clicks"), table)
    found = sorted((each.image, each.object, c["x"], c["label"]) for each in objects for c in each.clicks)
    assert found == sorted((image, name, float(x), label) for image, name, x, label in rows)
    keys = [(each.image, each.object) for each in objects]
    assert len(keys) == len(set(keys))


def test_the_same_click_twice_counts_once_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [click(), click(x=3.0), click(), click(x=3.0, label=False), click(object="2")]
    one, two = read(tmp_path, rows, [click()])
    assert [(each["x"], each["label"], each["row"]) for each in one.clicks] == [
        (1.0, True, 0),
        (3.0, True, 1),
        (3.0, False, 3),
    ]
    assert (one.failure, two.failure, len(two.clicks)) == (None, None, 1)
    assert "2 clicks stand there twice for the same object" in caplog.text


def test_two_spellings_of_an_image_are_one_image_and_its_objects_are_joined(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        click(image="sub/./a.jpg"),
        click(image="sub//a.jpg", x=5.0),
        click(image="./b.jpg"),
        click(image="b.jpg", object="2"),
    ]
    objects = read(tmp_path, rows)
    assert [(each.image, each.object, len(each.clicks)) for each in objects] == [
        ("b.jpg", "1", 1),
        ("b.jpg", "2", 1),
        ("sub/a.jpg", "1", 2),
    ]
    assert "2 images are named in more than one way, such as './b.jpg' and 'b.jpg': each is one image" in caplog.text
    assert "the clicks of 1 objects were joined" in caplog.text


def test_one_spelling_needs_no_remark(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(tmp_path, [click(image="./a.jpg"), click(image="./a.jpg", x=9.0), click(object="2", x=8.0)])
    read(tmp_path / "..", [click(x=7.0)])
    assert "1 images are named in more than one way" in caplog.text
    caplog.clear()
    read(tmp_path, [click(image="./a.jpg"), click(image="./a.jpg", x=9.0)])
    assert caplog.text == ""


class Noting:
    """A database that notes the statements it is given."""

    def __init__(self, database: Any, statements: list[str]) -> None:
        self._database, self._statements = database, statements

    def cursor(self) -> Noting:
        return Noting(self._database.cursor(), self._statements)

    def execute(self, statement: str, *values: Any) -> Any:
        self._statements.append(statement)
        return self._database.execute(statement, *values)

    def sql(self, statement: str, **values: Any) -> Any:
        self._statements.append(statement)
        return self._database.sql(statement, **values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


def test_clicks_are_sorted_once_and_taken_a_few_at_a_time_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(click_table, "CLICKS_A_QUERY", 4)
    objects = {f"{number:02d}.jpg": 11 if number == 7 else 3 for number in range(20)}
    rows = [click(image=image, object=str(name)) for image, number in objects.items() for name in range(number)]
    (tmp_path / "0.parquet").write_bytes(parquet(rows[::-1]))
    statements: list[str] = []
    with ClickTable(find_click_files([str(tmp_path / "0.parquet")], Store("")), Store(""), ["/photos"]) as table:
        table._database = Noting(table._database, statements)  # type: ignore[assignment]
        assert {image: len(found) for image, found in table.by_image()} == objects
    assert len([each for each in statements if "FROM clicks" in each]) == 1
    assert len(statements) > 10, "they were taken all at once"


class TestColumnsInPaths:
    """Hive's and Spark's way: `category=dog/part-0.parquet`."""

    def read(self, tmp_path: Path, path: str, rows: list[dict[str, Any]]) -> list[ObjectClicks]:
        file = tmp_path / path
        file.parent.mkdir(parents=True)
        file.write_bytes(parquet(rows))
        store = Store("")
        with ClickTable(find_click_files([f"{tmp_path}/"], store), store, ["/photos"]) as table:
            return [each for _, objects in table.by_image() for each in objects]

    @pytest.mark.parametrize(
        ("folder", "category"),
        [
            ("category=dog", "dog"),
            ("dt=1/category=traffic%20light", "traffic light"),
            ("category=__HIVE_DEFAULT_PARTITION__", "object"),
        ],
    )
    def test_the_category_of_a_folder_is_read(self, tmp_path: Path, folder: str, category: str) -> None:
        (only,) = self.read(tmp_path, f"{folder}/a.parquet", [{"image": "a.jpg", "object": 7, "x": 1, "y": 2}])
        assert (only.category, only.failure) == (category, None)

    def test_image_object_and_label_may_stand_there_as_well(self, tmp_path: Path) -> None:
        rows = [{"x": 1, "y": 2, "label": False}, {"x": 2, "y": 2, "label": True}]
        (only,) = self.read(tmp_path, "image=sub%2Fa.jpg/object=007/a.parquet", rows)
        assert (only.image, only.object, len(only.clicks)) == ("sub/a.jpg", "007", 2)
        labels = self.read(tmp_path / "other", "label=false/a.parquet", [{"image": "a", "object": 1, "x": 5, "y": 2}])
        assert [click["label"] for click in labels[0].clicks] == [False]

    def test_a_column_that_says_the_same_is_fine(self, tmp_path: Path) -> None:
        (only,) = self.read(tmp_path, "category=cat/a.parquet", [click()])
        assert only.category == "cat"

    @pytest.mark.parametrize(
        ("path", "found"),
        [
            ("category=dog/a.parquet", r"a\.parquet, row 0: column category: found 'cat'; the path has 'dog'"),
            ("category=cat/category=dog/a.parquet", "column category: the path has both 'cat' and 'dog'"),
            ("label=yes/a.parquet", "column label in the path: found 'yes'; allowed: 0, 1, true, false"),
            ("image=__HIVE_DEFAULT_PARTITION__/a.parquet", r"row 0: column image: found 'a\.jpg'; the path has None"),
        ],
    )
    def test_a_contradiction_is_refused(self, tmp_path: Path, path: str, found: str) -> None:
        with pytest.raises(InvalidClicks, match=found):
            self.read(tmp_path, path, [click()])


class TestDoubts:
    """Plausible, and probably not what was meant."""

    def test_fractions_are_refused_with_their_number(self, tmp_path: Path) -> None:
        rows = [click(x=0.25, y=0.5), click(object="2", x=1.0, y=0.0)]
        with pytest.raises(
            InvalidClicks, match=r"0\.parquet: columns x, y: all 2 clicks lie within 0\.\.1.*allowed: pixels"
        ):
            read(tmp_path, rows)
        with pytest.raises(InvalidClicks, match=r"1\.parquet: columns x, y: all 1 clicks"):
            read(tmp_path, [click(x=40.0)], [click(object="2", x=0.25, y=0.5)])

    def test_some_fractions_among_pixels_are_said(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        read(tmp_path, [click(x=0.25, y=0.5), click(x=100.0), click(x=101.0)])
        assert "0.parquet: columns x, y: 1 of 3 clicks lie within 0..1; pixels are meant" in caplog.text

    def test_a_click_on_the_corner_pixel_is_a_click(self, tmp_path: Path) -> None:
        (only,) = read(tmp_path, [click(x=0.0, y=1.0)])
        assert only.failure is None

    def test_categories_that_look_like_one_are_said(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        rows = [
            click(category=name, object=str(n))
            for n, name in enumerate(["cat", "Cat", "cat ", "dog", "traffic_light", "traffic light"])
        ]
        assert len(read(tmp_path, rows)) == 6
        assert (
            "look like one but count as several: 'Cat' (1 clicks) and 'cat' (1 clicks) and 'cat ' (1 clicks); "
            in caplog.text
        )
        assert "dog" not in caplog.text
