"""What a budget picked, read back by the tools' own readers."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from pycocotools.coco import COCO

from pipeline.review.picked import write_picked
from pipeline.review.queue import ReviewQueue
from pipeline.review.source import open_source
from pipeline.storage.store import Store
from tests.pipeline.review.gallery import Drawn, draw_run

GALLERY = {
    ("a.png", "poor"): Drawn(score=0.1),
    ("a.png", "good"): Drawn((40, 40, 60, 60), score=0.9),
    ("b.png", "outside"): Drawn(failure="click_outside"),
    ("c.png", "good"): Drawn(score=0.9, category="Straße"),
    ("d.png", "good"): Drawn(score=0.95),
}


def test_the_picks_and_nothing_else_with_the_identifiers_of_every_export(tmp_path: Path) -> None:
    job = draw_run(Store(str(tmp_path)), GALLERY)
    target = Store(str(tmp_path / "review"))
    with open_source(job.output_store) as source, ReviewQueue(source) as queue:
        queue.pick(3)
        addresses = write_picked(source, queue, target)
        numbers = {(row["image"], row["object"]): row["annotation_id"] for row in queue.rows()}
    assert all(Path(address).exists() for address in addresses)
    assert target.read("picked/images.txt").decode() == "a.png\nb.png\nc.png\n"
    coco = COCO(str(tmp_path / "review" / "picked" / "annotations" / "instances_default.json"))
    assert set(coco.anns) == {numbers["a.png", "poor"], numbers["c.png", "good"]}
    assert [image["file_name"] for image in coco.dataset["images"]] == ["a.png", "c.png"]
    assert coco.annToMask(coco.anns[numbers["a.png", "poor"]]).sum() == 400
    tasks = json.loads(target.read("picked/tasks.json"))
    assert [task["data"]["image"] for task in tasks] == [job.image_store.url(f"{name}.png") for name in "abc"]
    assert [(each["object"], each["reasons"]) for each in tasks[0]["data"]["review"]] == [("poor", ["low_score"])]
    assert tasks[1]["data"]["review"][0]["failure"] == "click_outside"
    drawn = json.loads(target.read("picked/labelstudio/tasks.json"))
    assert [task["data"]["image"] for task in drawn] == [job.image_store.url(f"{name}.png") for name in "ac"]
    assert all(len(task["predictions"][0]["result"]) == 1 for task in drawn)
    images = ElementTree.fromstring(target.read("picked/cvat/annotations.xml")).findall("image")
    assert [(image.get("name"), len(image.findall("mask"))) for image in images] == [("a.png", 1), ("c.png", 1)]
