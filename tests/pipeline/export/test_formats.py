"""Every format holds the masks exactly, or says with numbers what it cannot hold; all of them come from one pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from jobs.cli import main
from pipeline.attempts import all_attempts
from pipeline.clicks import InvalidClicks
from pipeline.export.format import Options
from pipeline.export.labels import Labels, labels_of_run
from pipeline.export.masks import Selection
from pipeline.export.one_pass import FORMATS, Exported, export_labels
from pipeline.frozen_parts import LabelledImage, freeze_parts
from pipeline.storage.store import Store
from tests.pipeline.export.hard_masks import HEIGHT, LOW_SCORE, WIDTH, Key, category_of, make_hard_run


class HardRun:
    """The run, its truth, and its exports in all formats."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.output, self.masks = make_hard_run(directory)
        self.passes = 0
        parts = labels_of_run(freeze_parts(self.output, all_attempts(self.output)))

        def counted(columns: Any) -> Any:
            self.passes += 1
            return parts.images(columns)

        self.labels: Labels = replace(parts, images=counted)
        self.exported = self.export("all")
        self.folder = directory / "all"

    def export(self, name: str, *formats: Any, options: Options | None = None, **of_selection: Any) -> Exported:
        images = Store(str(self.directory / "photos"))
        options = options or Options(images=images, with_images=True)
        target = Store(str(self.directory / name))
        return export_labels(self.labels, formats or list(FORMATS), target, options, Selection(**of_selection))

    def disjoint(self, image: str) -> Mapping[Key, np.ndarray]:
        """What is left of an image's masks when each pixel is the smallest mask's."""
        owner: dict[Key, np.ndarray] = {}
        of_image = sorted((key for key in self.masks if key[0] == image), key=lambda key: self.masks[key].sum())
        covered = np.zeros((HEIGHT, WIDTH), bool)
        for key in of_image:
            owner[key] = self.masks[key] & ~covered
            covered |= self.masks[key]
        return owner


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> HardRun:
    return HardRun(tmp_path_factory.mktemp("hard"))


def coco_masks(path: Path) -> dict[Key, np.ndarray]:
    """What pycocotools makes of a COCO file, by image and object."""
    coco = COCO(str(path))
    return {
        (coco.imgs[each["image_id"]]["file_name"], each["object"]): coco.annToMask(each).astype(bool)
        for each in coco.anns.values()
    }


def assert_same(found: Mapping[Any, np.ndarray], expected: Mapping[Any, np.ndarray]) -> None:
    assert sorted(found) == sorted(expected)
    for key, mask in expected.items():
        assert np.array_equal(found[key], mask), f"{key}: {np.count_nonzero(found[key] != mask)} pixels are wrong"


def test_all_formats_come_from_one_pass_and_the_same_parts_give_the_same_bytes(hard: HardRun) -> None:
    before = hard.passes
    hard.export("again")
    assert hard.passes == before + 1
    first, again = files_of(hard.directory / "all"), files_of(hard.directory / "again")
    assert first == again
    assert len(first) > 50


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_format_alone_writes_what_it_writes_among_others(hard: HardRun) -> None:
    for name in FORMATS:
        hard.export(f"alone-{name}", name)
        assert files_of(hard.directory / f"alone-{name}" / name) == files_of(hard.folder / name)


@pytest.mark.parametrize("name", ["coco", "coco-polygon"])
def test_coco_as_run_lengths_and_as_polygons(hard: HardRun, name: str) -> None:
    assert_same(coco_masks(hard.folder / name / "instances.json"), hard.masks)


def test_coco_with_lists_of_counts_and_the_layout_of_datumaro(hard: HardRun) -> None:
    hard.export("lists", "coco", options=Options(rle="list", layout="annotations"))
    path = hard.directory / "lists" / "coco" / "annotations" / "instances_default.json"
    assert_same(coco_masks(path), hard.masks)
    assert all(
        isinstance(each["segmentation"]["counts"][0], int) for each in json.loads(path.read_text())["annotations"]
    )


def test_what_a_coco_file_says_of_each_mask(hard: HardRun) -> None:
    document = json.loads((hard.folder / "coco" / "instances.json").read_text())
    names = {each["id"]: each["name"] for each in document["categories"]}
    images = {each["id"]: each for each in document["images"]}
    assert document["licenses"] == [{"id": 1, "name": "that of the images", "url": ""}]
    (origin,) = document["info"]["provenance"]
    assert (origin["id"], origin["backbone"], origin["run"]) == (0, "colour", document["info"]["fingerprint"])
    for each in document["annotations"]:
        image = images[each["image_id"]]
        assert names[each["category_id"]] == category_of((image["file_name"], each["object"]))
        assert each["attributes"] == {"object": each["object"], "score": each["score"]}
        assert (each["iscrowd"], each["origin"], image["license"]) == (0, 0, 1)
        assert each["id"] >= 1
        assert each["area"] >= 1
        assert len(each["clicks"]) == 16
    assert "failed.png" in {each["file_name"] for each in document["images"]}


def test_results_load_beside_the_instances(hard: HardRun) -> None:
    instances = COCO(str(hard.folder / "coco" / "instances.json"))
    results = instances.loadRes(str(hard.folder / "coco-results" / "results.json"))
    found = {
        (results.imgs[each["image_id"]]["file_name"], each["object"]): results.annToMask(each).astype(bool)
        for each in results.anns.values()
    }
    assert_same(found, hard.masks)
    assert {each["area"] for each in results.anns.values()} == {int(mask.sum()) for mask in hard.masks.values()}


def test_panoptic_pixels_belong_to_the_smallest_mask(hard: HardRun) -> None:
    document = json.loads((hard.folder / "coco-panoptic" / "annotations" / "panoptic_default.json").read_text())
    images = {each["id"]: each["file_name"] for each in document["images"]}
    folder = hard.folder / "coco-panoptic" / "annotations" / "panoptic_default"
    assert all(each["isthing"] == 1 for each in document["categories"])
    for each in document["annotations"]:
        pixels = np.asarray(Image.open(folder / each["file_name"])).astype(int)
        ids = pixels @ [1, 256, 65536]
        found = {(images[each["image_id"]], one["object"]): ids == one["id"] for one in each["segments_info"]}
        owned = hard.disjoint(images[each["image_id"]])
        assert_same(found, {key: mask for key, mask in owned.items() if mask.any()})
        for one in each["segments_info"]:
            box = coco_mask.toBbox(coco_mask.encode(np.asfortranarray(ids == one["id"], np.uint8)))
            assert (one["bbox"], one["area"]) == (box.tolist(), int((ids == one["id"]).sum()))


def test_what_overlaps_cost_is_said(hard: HardRun) -> None:
    images = sorted({image for image, _ in hard.masks})
    lost = [hard.masks[key].sum() - mask.sum() for image in images for key, mask in hard.disjoint(image).items()]
    gone = sum(not mask.any() for image in images for mask in hard.disjoint(image).values())
    assert gone > 0
    for name in ("coco-panoptic", "png"):
        notes = [note for note in hard.exported.notes if note.startswith(f"{name}: ")]
        assert f"{name}: {np.count_nonzero(lost)} masks lose pixels to smaller masks over them" in notes
        assert f"{name}: {sum(lost)} pixels of masks are those of smaller masks over them" in notes
        assert f"{name}: {gone} masks are left out: smaller masks cover all of them" in notes


def yolo_masks(folder: Path, image: str, pixel_of: Callable[[np.ndarray], np.ndarray]) -> list[tuple[int, np.ndarray]]:
    """Category and pixels of every line as OpenCV draws it."""
    found = []
    for line in (folder / "labels" / image).with_suffix(".txt").read_text().splitlines():
        category, *values = line.split()
        points = pixel_of(np.array(values, np.float32).reshape(-1, 2) * (WIDTH, HEIGHT)).astype(np.int32)
        found.append((int(category), cv2.fillPoly(np.zeros((HEIGHT, WIDTH), np.uint8), [points], 1).astype(bool)))
    return found


@pytest.mark.parametrize("pixel_of", [np.floor, np.round], ids=["Ultralytics", "supervision"])
def test_yolo_has_a_line_a_part(hard: HardRun, pixel_of: Callable[[np.ndarray], np.ndarray]) -> None:
    data = yaml.safe_load((hard.folder / "yolo-seg" / "data.yaml").read_text())
    assert "path" not in data, "Ultralytics would look from where it is started, not from where the file is"
    names = data["names"]
    for image in sorted({image for image, _ in hard.masks}):
        parts = list(parts_of(hard, image))
        lines = [(names[category], mask) for category, mask in yolo_masks(hard.folder / "yolo-seg", image, pixel_of)]
        assert len(lines) == len(parts)
        for name, mask in parts:
            assert any(name == other and np.array_equal(mask, drawn) for other, drawn in lines)
    assert (hard.folder / "yolo-seg" / "labels" / "failed.txt").read_bytes() == b""
    several = sum(cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] > 2 for mask in hard.masks.values())
    assert f"yolo-seg: {several} masks in several parts are several objects, a line a part" in hard.exported.notes


def parts_of(hard: HardRun, image: str) -> Iterator[tuple[str, np.ndarray]]:
    for key in hard.masks:
        if key[0] == image:
            count, places = cv2.connectedComponents(hard.masks[key].astype(np.uint8), connectivity=4)
            yield from ((category_of(key), places == place) for place in range(1, count))


def test_maps_of_categories_and_instances(hard: HardRun) -> None:
    folder = hard.folder / "png"
    lines = (folder / "labelmap.txt").read_text().splitlines()[1:]
    names = [line.split(":")[0] for line in lines]
    colours = [tuple(map(int, line.split(":")[1].split(","))) for line in lines]
    assert names == ["background", *sorted({category_of(key) for key in [*hard.masks]})]
    for image in (folder / "ImageSets" / "Segmentation" / "default.txt").read_text().splitlines():
        classes = Image.open(folder / "SegmentationClass" / f"{image}.png")
        objects = np.asarray(Image.open(folder / "SegmentationObject" / f"{image}.png"))
        painted = np.asarray(classes.convert("RGB"))
        key_of = {Path(key[0]).with_suffix("").as_posix(): key[0] for key in hard.masks}
        owned = hard.disjoint(key_of[image]) if image in key_of else {}
        shown = {key: mask for key, mask in owned.items() if mask.any()}
        assert len(np.unique(objects)) - (objects == 0).any() == len(shown)
        for key, mask in shown.items():
            assert len(np.unique(objects[mask])) == 1
            assert set(np.asarray(classes)[mask]) == {names.index(category_of(key))}
            assert (painted[mask] == colours[names.index(category_of(key))]).all()


def test_images_are_copied_where_the_formats_want_them(hard: HardRun) -> None:
    photo = (hard.directory / "photos" / "sub" / "über" / "ё лама.png").read_bytes()
    for place in ("coco/images", "yolo-seg/images", "coco-panoptic/images", "png/JPEGImages"):
        assert (hard.folder / place / "sub" / "über" / "ё лама.png").read_bytes() == photo


def test_an_image_that_is_not_there_to_be_copied_is_said(hard: HardRun, tmp_path: Path) -> None:
    nowhere = Options(images=Store(str(tmp_path)), with_images=True)
    exported = hard.export("nowhere", "coco", options=nowhere)
    assert exported.images_missing == 8
    assert any(note.startswith("8 images are not there to be copied, such as") for note in exported.notes)


def renamed(labels: Labels, keys: Mapping[str, str]) -> Labels:
    """The labels, some of whose images have another key."""

    def images(columns: Sequence[str]) -> Iterator[LabelledImage]:
        for image in labels.images(columns):
            rows = [row | {"image": keys.get(row["image"], row["image"])} for row in image.rows]
            yield replace(image, rows=rows)

    return replace(labels, images=images)


def test_two_images_are_never_one_file(hard: HardRun, tmp_path: Path) -> None:
    two = renamed(hard.labels, {"overlap.png": "./holes.png"})
    photos = Options(images=Store(str(hard.directory / "photos")), with_images=True)
    with pytest.raises(InvalidClicks, match=r"holes\.png: another image would be the file holes\.png too; allowed: "):
        export_labels(two, ["coco"], Store(str(tmp_path / "copied")), photos)
    export_labels(two, ["png", "coco-panoptic"], Store(str(tmp_path)))
    for folder in ("png/SegmentationObject", "coco-panoptic/annotations/panoptic_default"):
        assert {path.name for path in (tmp_path / folder).glob("holes*")} == {"holes.png", "holes.png.png"}
    with pytest.raises(InvalidClicks, match="another image would be the file"):
        export_labels(two, ["hf"], Store(str(tmp_path / "rows")))
    three = renamed(two, {"failed.png": ".//holes.png"})
    for name in ("png", "coco-panoptic"):
        with pytest.raises(InvalidClicks, match="another image would be the file"):
            export_labels(three, [name], Store(str(tmp_path / "three")))


def test_yolo_has_no_image_that_would_be_read_with_the_labels_of_another(hard: HardRun, tmp_path: Path) -> None:
    two = renamed(hard.labels, {"overlap.png": "holes.jpg"})
    (tmp_path / "photos").mkdir()
    for image in {image for image, _ in hard.masks} - {"overlap.png"}:
        Store(str(tmp_path / "photos")).put(image, image.encode())
    Store(str(tmp_path / "photos")).put("holes.jpg", b"overlap")
    photos = Options(images=Store(str(tmp_path / "photos")), with_images=True)
    exported = export_labels(two, ["yolo-seg"], Store(str(tmp_path)), photos)
    folder = tmp_path / "yolo-seg"
    assert [path.read_bytes() for path in (folder / "images").glob("holes.*")] == [b"holes.png"]
    assert (folder / "labels" / "holes.txt").read_bytes() == (
        hard.folder / "yolo-seg" / "labels" / "holes.txt"
    ).read_bytes()
    what = "images have the name of another but for its ending, whose labels would be theirs: they are left out"
    assert f"yolo-seg: 1 {what}" in exported.notes


def test_what_no_format_gets_is_said(hard: HardRun) -> None:
    assert "3 objects have no mask; `m2n2 status` says why" in hard.exported.notes
    assert "1 images could not be read, so their size is not known: they are left out" in hard.exported.notes


def test_only_good_masks_of_some_images(hard: HardRun) -> None:
    wanted = {"empty.png", "holes.png", "not there.png"}
    exported = hard.export("some", "coco", "yolo-seg", min_score=0.1, images=wanted)
    found = coco_masks(hard.directory / "some" / "coco" / "instances.json")
    assert_same(found, {key: mask for key, mask in hard.masks.items() if key[0] in wanted and key != LOW_SCORE})
    assert (hard.directory / "some" / "yolo-seg" / "labels" / "empty.txt").read_bytes() == b""
    assert {note for note in exported.notes if not note.startswith("yolo")} == {
        "7 images are not in the list of images",
        "1 masks have a score below 0.1",
        "1 names in the list of images are none of the images, such as 'not there.png'",
    }


@pytest.mark.parametrize(("split_by", "files"), [(3, 3), ("category", 3), ("folder", 3)])
def test_split_files_have_every_mask_once(hard: HardRun, split_by: Any, files: int) -> None:
    hard.export(f"by-{split_by}", "coco", options=Options(split_by=split_by))
    paths = sorted((hard.directory / f"by-{split_by}" / "coco").rglob("*.json"))
    assert len(paths) == files
    found = [coco_masks(path) for path in paths]
    assert sum(map(len, found)) == len(hard.masks)
    assert_same({key: mask for part in found for key, mask in part.items()}, hard.masks)
    if split_by == "category":
        assert all(len({category_of(key) for key in part}) == 1 for part in found)


def test_by_command(hard: HardRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some = tmp_path / "some.txt"
    some.write_text("holes.png\r\nsub/one.png\r\n", encoding="utf-8-sig")  # as Windows saves it
    command = ["export", hard.output.root, "--format", "coco,coco-polygon", "--to", str(tmp_path), "--only", str(some)]
    assert main([*command, "--with-images"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [str(tmp_path / name / "instances.json") for name in ("coco", "coco-polygon")]
    assert "images are not in the list of images" in told.err
    assert len(coco_masks(tmp_path / "coco" / "instances.json")) == 6
    assert (tmp_path / "coco" / "images" / "sub" / "one.png").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--format", "coco,cocoa"], "found 'cocoa'; allowed: coco, coco-results,"),
        (["--format", "yolo-seg", "--to", "a.json"], "a.json: yolo-seg is a folder of files; allowed: a folder"),
        (["--layout", "annotations", "--to", "a.json"], "a.json: coco is a folder of files; allowed: a folder"),
        (["--split-by", "0"], "found '0'; allowed: a number of images, category, folder"),
        (["--only", "nowhere.txt"], "--only: nowhere.txt: there is no such file"),
        (["--min-score", "2"], "should be less than or equal to 1"),
    ],
)
def test_what_cannot_be_asked_for(
    hard: HardRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], problem: str
) -> None:
    assert main(["export", hard.output.root, "--to", str(tmp_path), *options]) == 2
    assert problem in capsys.readouterr().err
