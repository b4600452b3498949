"""Every format, from files that the tools' own libraries wrote (tests/importers/write_click_samples.py) and others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pipeline.clicks import InvalidClicks
from pipeline.importing.import_clicks import FormatName
from pipeline.storage.store import Store
from tests.pipeline.importing.writers import (
    CLICKS,
    Objects,
    imported,
    read_back,
    rejected,
    write_csv,
    write_keypoints,
    write_label_studio,
)
from tests.pipeline.make_data import disc, encode, picture

SAMPLES = Path(__file__).parents[2] / "data" / "clicks"
POINTS = [
    ("cat", [(12.0, 14.0, True)]),
    ("dog", [(20.0, 15.0, True), (24.0, 15.0, True)]),
    ("dog", [(30.0, 15.0, True)]),
]
COCO = (
    '{{"images": [{{"id": 1, "file_name": "a", "width": {}, "height": 1}}], '
    '"annotations": [{{"id": 1, "image_id": 1, "bbox": {}}}]}}'
)
BOXES = [("cat", (4.0, 6.0, 20.0, 22.0)), ("dog", (10.0, 5.0, 30.0, 25.0)), ("dog", (22.0, 3.0, 38.0, 27.0))]


def by_category(objects: Objects, what: str) -> list[tuple[str, Any]]:
    return sorted((each["category"], each[what]) for each in objects.values())


@pytest.mark.parametrize(
    ("form", "write"),
    [("csv", write_csv), ("coco-keypoints", write_keypoints), ("labelstudio", write_label_studio)],
)
def test_clicks_come_back_as_they_were(
    tmp_path: Path, form: FormatName, write: Callable[[Objects, Path], Path]
) -> None:
    target = tmp_path / "clicks.parquet"
    done = imported(write(CLICKS, tmp_path / "there"), form, target)
    assert read_back(target) == CLICKS
    assert (done.clicks, done.rejected, sum(done.lost.values())) == (5, 0, 0)


@pytest.mark.parametrize(("form", "file"), [("coco-keypoints", "keypoints.json"), ("cvat", "cvat_points.xml")])
def test_points_of_the_tools_own_libraries(tmp_path: Path, form: FormatName, file: str) -> None:
    imported(SAMPLES / file, form, tmp_path / "clicks.parquet")
    objects = read_back(tmp_path / "clicks.parquet")
    assert by_category(objects, "clicks") == POINTS
    assert {Path(image).name for image, _ in objects} == {"a.png", "b.png"}


@pytest.mark.parametrize(
    ("form", "file"),
    [
        ("coco-boxes", "boxes.json"),
        ("labelstudio", "label_studio.json"),
        ("cvat", "cvat.xml"),
        ("yolo", "yolo"),
        ("yolo", "yolo/data.yaml"),
    ],
)
def test_boxes_of_the_tools_own_libraries(tmp_path: Path, form: FormatName, file: str) -> None:
    imported(SAMPLES / file, form, tmp_path / "clicks.parquet")
    objects = read_back(tmp_path / "clicks.parquet")
    for (category, box), (wanted_category, wanted) in zip(by_category(objects, "box"), BOXES, strict=True):
        assert category == wanted_category
        assert box == pytest.approx(wanted, abs=1e-3)  # YOLO's files have five digits
    assert {Path(image).name for image, _ in objects} == {"a.png", "b.png"}


def test_a_box_gives_its_centre_or_more(tmp_path: Path) -> None:
    target = tmp_path / "clicks.parquet"
    imported(SAMPLES / "boxes.json", "coco-boxes", target)
    assert read_back(target)["b.png", "1"]["clicks"] == [(19.5, 14.5, True)]
    imported(SAMPLES / "boxes.json", "coco-boxes", target, box_clicks="outside")
    beside = read_back(target)["b.png", "1"]["clicks"]
    assert beside[1:] == [(7.5, 14.5, False), (31.5, 14.5, False), (19.5, 2.5, False), (19.5, 26.5, False)]
    assert len(read_back(target)["a.png", "2"]["clicks"]) == 4  # the image ends on the right of this box
    imported(SAMPLES / "boxes.json", "coco-boxes", target, box_clicks="grid")
    assert len(read_back(target)["b.png", "1"]["clicks"]) == 9


@pytest.mark.parametrize("as_polygon", [True, False])
def test_a_mask_gives_its_most_interior_point(tmp_path: Path, as_polygon: bool) -> None:
    rle = coco_mask.encode(np.asfortranarray(disc(0).astype(np.uint8)))
    ring = [30 + 14 * np.cos(t) if i % 2 == 0 else 30 + 14 * np.sin(t) for t in np.arange(0, 6.28, 0.1) for i in (0, 1)]
    segmentation = [ring] if as_polygon else {"size": rle["size"], "counts": rle["counts"].decode()}
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 96, "height": 72}],
        "categories": [{"id": 5, "name": "disc"}],
        "annotations": [
            {"id": 3, "image_id": 1, "category_id": 5, "segmentation": segmentation},
            {"id": 4, "image_id": 1, "category_id": 5, "segmentation": segmentation, "iscrowd": 1},
        ],
    }
    (tmp_path / "masks.json").write_text(json.dumps(document))
    done = imported(tmp_path / "masks.json", "coco-masks", tmp_path / "clicks.parquet")
    ((_, found),) = read_back(tmp_path / "clicks.parquet").items()
    assert found["clicks"] == [(pytest.approx(30, abs=1), pytest.approx(30, abs=1), True)]
    assert done.lost["crowds (iscrowd = 1), which are no single object"] == 1


def test_via_in_its_three_forms(tmp_path: Path) -> None:
    regions = [
        {"shape_attributes": {"name": "point", "cx": 5, "cy": 6}, "region_attributes": {"class": "cat", "object": "1"}},
        {
            "shape_attributes": {"name": "point", "cx": 9, "cy": 2},
            "region_attributes": {"class": "cat", "object": "1", "background": "true"},
        },
        {
            "shape_attributes": {"name": "rect", "x": 1, "y": 2, "width": 10, "height": 8},
            "region_attributes": {"class": {"dog": True, "cow": False}},
        },
        {"shape_attributes": {"name": "circle", "cx": 5, "cy": 6, "r": 1}, "region_attributes": {}},
    ]
    image = {"filename": "a.png", "size": 10, "regions": regions}
    forms = [
        {"a.png10": image},
        {"a.png10": image | {"regions": {str(i): each for i, each in enumerate(regions)}}},
        {"_via_settings": {"ui": {}}, "_via_img_metadata": {"a.png10": image}, "_via_attributes": {}},
    ]
    for document in forms:
        (tmp_path / "via.json").write_text(json.dumps(document))
        done = imported(tmp_path / "via.json", "via", tmp_path / "clicks.parquet")
        assert read_back(tmp_path / "clicks.parquet") == {
            ("a.png", "1"): {"category": "cat", "clicks": [(5.0, 6.0, True), (9.0, 2.0, False)], "box": None},
            ("a.png", "2"): {"category": "dog", "clicks": [(5.5, 5.5, True)], "box": (1.0, 2.0, 11.0, 10.0)},
        }
        assert done.lost == {"regions of shape circle": 1}


def test_boxes_of_a_detector_in_fractions(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(picture()))
    (tmp_path / "boxes.csv").write_text("file;xmin;ymin;w;h;class;score\na.png;0.25;0.5;0.5;0.25;cat;0.9\n")
    target = tmp_path / "clicks.parquet"
    columns = {"x": "xmin", "y": "ymin", "x0": "none"}
    with pytest.raises(InvalidClicks, match="--map x0=none: found columns: file, xmin"):
        imported(tmp_path / "boxes.csv", "boxes", target, columns=columns)
    columns = {"x": "xmin", "y": "ymin"}
    with pytest.raises(InvalidClicks, match=r"all coordinates lie within 0\.\.1.*--units fraction"):
        imported(tmp_path / "boxes.csv", "boxes", target, columns=columns)
    assert not target.exists()
    done = imported(
        tmp_path / "boxes.csv", "boxes", target, columns=columns, units="fraction", images=Store(str(tmp_path))
    )
    assert read_back(target) == {
        ("a.png", "2"): {"category": "cat", "clicks": [(47.5, 44.5, True)], "box": (24.0, 36.0, 72.0, 54.0)}
    }
    assert done.lost["scores of boxes"] == 1


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("coco-boxes", "[]", "a list of results has no names of images"),
        (
            "coco-boxes",
            '{"images": [], "annotations": [{"id": 1, "image_id": 4}]}',
            "annotations\\[0\\]: image_id: found 4",
        ),
        ("coco-boxes", COCO.format("1", "[1e308, 1, 1e308, 5]"), "coordinates: found .*inf.*; allowed: finite numbers"),
        ("coco-boxes", '{"images": [{"id": 1}]}', "images\\[0\\]: file_name: found None; allowed: a text"),
        ("coco-boxes", '{"images": [', "not readable as JSON after 0 items"),
        (
            "labelstudio",
            '[{"data": {"image": "a"}}]',
            "task 0: annotations: found None; allowed: tasks with annotations",
        ),
        ("cvat", "<annotations><image/></annotations>", "image 0: name: found None; allowed: a text that is not empty"),
        ("cvat", '<!DOCTYPE x [<!ENTITY a "b">]><annotations/>', "not readable as XML after 0 images: Entities"),
        ("cvat", '<?xml version="1.0" encoding="utf-7e"?><annotations/>', "0 images: unknown encoding: utf-7e"),
        ("cvat", "<svg/>", "found <svg>; allowed: <annotations>"),
        ("via", "{}", "found no image with regions"),
        ("csv", "a.png,1,2,3\n", "as the first line, which has numbers; allowed: a header"),
        ("csv", "image,object,x\na,b,1\n", "columns y are missing; found columns: image, object, x"),
        ("csv", "file,path,object,x,y\na,b,c,1,1\n", "column image: found file and path; say which: --map image=file"),
        (
            "csv",
            "image,object,x,y\na,b,1,e\n",
            "row 2: y: found 'e'; allowed: a number; to leave such records out: --skip-",
        ),
        ("jsonl", '{"image": "a", "object": "b", "x": 1, "y": []}', "line 1: y: found '\\[\\]'; allowed: a number"),
    ],
)
def test_what_is_refused_is_named(tmp_path: Path, form: FormatName, text: str, message: str) -> None:
    (tmp_path / "source").write_text(text)
    with pytest.raises(InvalidClicks, match=message):
        imported(tmp_path / "source", form, tmp_path / "clicks.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_bad_records_are_lines_and_the_rest_goes_on(tmp_path: Path) -> None:
    rows = [
        "image,object,x,y,label",
        "a,1,2,3,1",
        "a,2,nan,3,1",
        "a,3,4",
        ",4,4,4,0",
        "a,5,1.5,2,maybe",
        '"b\nc",6,7,8,',
    ]
    (tmp_path / "source.csv").write_text("\n".join(rows))
    target = tmp_path / "clicks.parquet"
    done = imported(tmp_path / "source.csv", "csv", target, skip_bad=True)
    assert (done.clicks, done.rejected) == (2, 4)
    assert set(read_back(target)) == {("a", "1"), ("b\nc", "6")}
    found = [(line["place"].rpartition(", ")[2], line["field"], line["found"]) for line in rejected(target)]
    assert sorted(found) == [
        ("row 3", "x", "'nan'"),
        ("row 4", "number of cells", "3"),
        ("row 5", "image", "None"),
        ("row 6", "label", "'maybe'"),
    ]


def test_an_object_twice_is_no_silent_union(tmp_path: Path) -> None:
    document = json.loads((SAMPLES / "boxes.json").read_text())
    document["annotations"].append(document["annotations"][0])
    (tmp_path / "twice.json").write_text(json.dumps(document))
    with pytest.raises(InvalidClicks, match=r"annotations\[3\]: object: found '1'; allowed: one of this name in image"):
        imported(tmp_path / "twice.json", "coco-boxes", tmp_path / "clicks.parquet")
