"""Categories that a job gives identifiers: kept in every export, and what is wrong with them said before a run."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from jobs.cli import main
from pipeline.attempts import all_attempts
from pipeline.clicks import InvalidClicks
from pipeline.config import InvalidJob, Job, load_job, parse_job
from pipeline.export.labels import Labels, labels_of_run
from pipeline.export.one_pass import FORMATS, export_labels
from pipeline.forecast.forecast import forecast
from pipeline.frozen_parts import freeze_parts
from pipeline.inputs.categories import Category, read_categories
from pipeline.plan import PlanMismatch, find_or_make_plan
from pipeline.storage.store import Store
from tests.pipeline.make_data import parquet, put_dataset
from tests.pipeline.make_parts import make_parts

GIVEN: list[dict[str, Any]] = [
    {"id": 90, "name": "unused"},
    {"id": 44, "name": "red", "supercategory": "colour"},
    {"id": 7, "name": "blue"},
]
ORDER = [("unused", 90), ("red", 44), ("blue", 7)]


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    """A job of objects in the categories red and blue that gives identifiers to both."""
    (tmp_path / "own.json").write_text(json.dumps(GIVEN))
    return put_dataset(Store(str(tmp_path)), images=3) | {"categories": str(tmp_path / "own.json")}


def job_of(document: dict[str, Any], **changes: Any) -> Job:
    return parse_job({**document, **changes}, "job")


def labels_of(job: Job) -> Labels:
    """The labels of a finished run of the job."""
    make_parts(job.output_store, find_or_make_plan(job))
    return labels_of_run(freeze_parts(job.output_store, all_attempts(job.output_store)))


def test_every_export_has_the_identifiers_and_the_order_that_were_given(
    document: dict[str, Any], tmp_path: Path
) -> None:
    export_labels(labels_of(job_of(document)), list(FORMATS), Store(str(tmp_path / "out")))
    out = tmp_path / "out"
    used = {44, 7}
    for path in ("coco/instances.json", "coco-polygon/instances.json", "cvat/annotations/instances_default.json"):
        coco = json.loads((out / path).read_text())
        assert coco["categories"] == GIVEN
        assert {each["category_id"] for each in coco["annotations"]} == used
    panoptic = json.loads((out / "coco-panoptic/annotations/panoptic_default.json").read_text())
    assert [(each["name"], each["id"]) for each in panoptic["categories"]] == ORDER
    assert {part["category_id"] for each in panoptic["annotations"] for part in each["segments_info"]} <= used
    assert {each["category_id"] for each in json.loads((out / "coco-results/results.json").read_text())} == used
    # YOLO's class numbers leave no gaps: they are places in the file, from 0.
    assert yaml.safe_load((out / "yolo-seg/data.yaml").read_text())["names"] == {0: "unused", 1: "red", 2: "blue"}
    lines = (out / "yolo-seg/labels/0000.txt").read_text().splitlines()
    assert {line.split()[0] for line in lines} == {"1", "2"}
    pixels = np.asarray(Image.open(out / "png/SegmentationClass/0000.png"))
    assert set(np.unique(pixels)) - {0} <= used
    assert pixels.any()
    names = [line.split(":")[0] for line in (out / "png/labelmap.txt").read_text().splitlines()[2:]]
    assert names == [name for name, _ in ORDER]
    assert [each["name"] for each in json.loads((out / "cvat/labels.json").read_text())] == names
    rows = [json.loads(line) for line in (out / "hf/train/metadata.jsonl").read_text().splitlines()]
    pairs = {
        pair for row in rows for pair in zip(row["objects"]["category"], row["objects"]["category_id"], strict=True)
    }
    assert pairs == {("red", 44), ("blue", 7)}
    studio = [path.read_text() for path in (out / "labelstudio").iterdir() if path.suffix == ".xml"]
    assert [studio[0].index(f'value="{name}"') for name in names] == sorted(
        studio[0].index(f'value="{name}"') for name in names
    )


def test_an_identifier_that_a_pixel_cannot_hold_is_refused_in_png_alone(
    document: dict[str, Any], tmp_path: Path
) -> None:
    Path(document["categories"]).write_text(json.dumps([GIVEN[1] | {"id": 65_536 + 44}, GIVEN[2]]))
    labels = labels_of(job_of(document))
    export_labels(labels, ["coco"], Store(str(tmp_path / "out")))
    with pytest.raises(
        InvalidClicks, match=r"png: category 'red': found the identifier 65580; allowed in .* 1 to 65535"
    ):
        export_labels(labels, ["png"], Store(str(tmp_path / "out")))


def test_a_plan_keeps_the_categories_that_it_was_made_with(document: dict[str, Any]) -> None:
    before = labels_of(job_of(document)).categories
    Path(document["categories"]).write_text(json.dumps([GIVEN[0], GIVEN[1] | {"id": 45}, GIVEN[2]]))
    with pytest.raises(PlanMismatch, match=r"categories\.red\.id: the plan has 44, the job has 45") as caught:
        find_or_make_plan(job_of(document))
    assert str(caught.value).count("the plan has") == 1
    store = job_of(document).output_store
    assert labels_of_run(freeze_parts(store, all_attempts(store))).categories == before == dict(ORDER)


def test_a_job_without_the_file_has_the_identity_that_it_had(document: dict[str, Any], tmp_path: Path) -> None:
    del document["categories"]
    job = job_of(document, output=str(tmp_path / "plain"))
    assert not [key for key in find_or_make_plan(job).identity if "categor" in key]
    assert labels_of(job).categories == {"blue": 1, "red": 2}


def test_an_unknown_category_is_refused_before_anything_is_labelled(document: dict[str, Any]) -> None:
    Path(document["categories"]).write_text(json.dumps(GIVEN[:2]))
    job = job_of(document)
    for refuse in (lambda: find_or_make_plan(job), lambda: forecast(job, 0)):
        with pytest.raises(InvalidClicks) as caught:
            refuse()
        message = str(caught.value)
        assert "clicks/a.parquet, row 1: column category: found 'blue' (3 clicks)" in message
        assert "allowed: 'unused', 'red'; `unknown_categories: add`" in message
        assert "\n" not in message
    assert all_attempts(job.output_store) == []


def test_rows_without_a_category_are_named_as_such(document: dict[str, Any], tmp_path: Path) -> None:
    click = {"image": "0000.png", "object": "1", "x": 30.5, "y": 30.5}
    (tmp_path / "plain.parquet").write_bytes(parquet([click]))
    with pytest.raises(InvalidClicks, match=r"found 'object' \(1 clicks\); rows without a category have this one"):
        find_or_make_plan(job_of(document, clicks=str(tmp_path / "plain.parquet")))


def test_unknown_categories_are_added_after_those_given(document: dict[str, Any]) -> None:
    Path(document["categories"]).write_text(json.dumps(GIVEN[:1]))
    labels = labels_of(job_of(document, unknown_categories="add"))
    assert list(labels.categories.items()) == [("unused", 90), ("blue", 91), ("red", 92)]


def test_the_command_ends_with_2_and_one_line(
    document: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(document["categories"]).write_text(json.dumps(GIVEN[:2]))
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
    assert main(["plan", str(tmp_path / "job.yaml")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        ("{", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        ('{"categories": []}', "found dict; allowed: a list such as"),
        ("[]", "found an empty list; allowed: a list such as"),
        ('["cat"]', "element 0: found 'cat'; allowed: an object with id and name"),
        ('[{"name": "cat"}]', "element 0: id: found none; allowed: a whole number from 1"),
        ('[{"id": 0, "name": "cat"}]', "element 0: id: found 0; allowed: a whole number from 1"),
        ('[{"id": 1.0, "name": "cat"}]', "element 0: id: found 1.0; allowed"),
        ('[{"id": true, "name": "cat"}]', "element 0: id: found True; allowed"),
        ('[{"id": 3000000000, "name": "cat"}]', "element 0: id: found 3000000000; allowed"),
        ('[{"id": 1}]', "element 0: name: found none; allowed: text that is not empty"),
        ('[{"id": 1, "name": ""}]', "element 0: name: found ''; allowed"),
        ('[{"id": 1, "name": "\\ud800"}]', "element 0: name: found '\\ud800'; allowed"),
        ('[{"id": 1, "name": "a", "supercategory": 3}]', "element 0: supercategory: found 3; allowed: text"),
        ('[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]', "element 1: id: found 1, which element 0 has too"),
        ('[{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]', "element 1: name: found 'a', which element 0 has too"),
        ('[{"id": 65536, "name": "a"}]', "element 0: id: found 65536; allowed where png is exported: 1 to 65535"),
    ],
)
def test_what_is_wrong_with_the_file_is_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "own.json"
    if content is not None:
        path.write_text(content)
    job = parse_job(
        {"images": "a", "clicks": "b", "output": "c", "categories": str(path), "export": ["coco", "png"]}, "job"
    )
    with pytest.raises(InvalidJob) as caught:
        read_categories(job)
    assert str(caught.value).startswith(f"categories: {path}: {message}")
    assert "\n" not in str(caught.value)


def test_fields_that_are_not_kept_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "m2n2")
    (tmp_path / "own.json").write_text('[{"id": 1, "name": "a", "isthing": 1}, {"id": 2, "name": "b"}]')
    (tmp_path / "job.yaml").write_text("{images: a, clicks: b, output: c, categories: own.json}")
    assert read_categories(load_job(tmp_path / "job.yaml")) == (Category(1, "a"), Category(2, "b"))
    assert "1 of 2 elements have a field 'isthing', which is not kept" in caplog.text


def test_unknown_categories_says_nothing_without_the_file(document: dict[str, Any]) -> None:
    del document["categories"]
    with pytest.raises(InvalidJob, match=r"unknown_categories: found 'add'; .*only beside `categories`"):
        job_of(document, unknown_categories="add")
    assert parse_job(job_of(document).model_dump(mode="json"), "submitted").categories is None
