"""Each importer in its own environment: reads an export and says what it sees. Knows nothing of m2n2.

python readers.py TOOL FOLDER OUT   writes JSON: the version, and [image, category or null, rows of 0 and 1] a mask
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Seen = Iterator[tuple[str, str | None, Any]]


def of_coco(coco: Any) -> Seen:
    for each in coco.anns.values():
        yield coco.imgs[each["image_id"]]["file_name"], coco.cats[each["category_id"]]["name"], coco.annToMask(each)


def pycocotools(folder: Path) -> Seen:
    from pycocotools.coco import COCO

    return of_coco(COCO(str(folder / "coco" / "instances.json")))


def pycocotools_lists(folder: Path) -> Seen:
    from pycocotools.coco import COCO

    return of_coco(COCO(str(folder / "lists" / "coco" / "instances.json")))


def pycocotools_polygons(folder: Path) -> Seen:
    from pycocotools.coco import COCO

    return of_coco(COCO(str(folder / "coco-polygon" / "instances.json")))


def pycocotools_results(folder: Path) -> Seen:
    from pycocotools.coco import COCO

    return of_coco(COCO(str(folder / "coco" / "instances.json")).loadRes(str(folder / "coco-results" / "results.json")))


def faster_coco_eval(folder: Path) -> Seen:
    from faster_coco_eval import COCO

    return of_coco(COCO(str(folder / "coco" / "instances.json")))


def kwcoco(folder: Path) -> Seen:
    import kwcoco
    import kwimage

    data = kwcoco.CocoDataset(str(folder / "coco" / "instances.json"))
    for each in data.annots().objs:
        image = data.imgs[each["image_id"]]
        shape = (image["height"], image["width"])
        counts = each["segmentation"]["counts"].encode()
        mask = kwimage.Mask({"size": shape, "counts": counts}, "bytes_rle").to_c_mask().data
        yield image["file_name"], data.cats[each["category_id"]]["name"], mask


def of_supervision(data: Any, root: Path) -> Seen:
    for path, _, found in data:
        for mask, category in zip(found.mask if found.mask is not None else [], found.class_id, strict=False):
            yield Path(path).relative_to(root).as_posix(), data.classes[category], mask


def supervision(folder: Path) -> Seen:
    import supervision as sv

    root = folder / "coco" / "images"
    path = str(folder / "coco" / "instances.json")
    return of_supervision(sv.DetectionDataset.from_coco(str(root), path, force_masks=True), root)


def supervision_yolo(folder: Path) -> Seen:
    """It looks into one folder at a time, so each folder of images is a data set of its own."""
    import supervision as sv

    root = folder / "yolo-seg" / "images"
    for place in sorted({path.parent for path in root.rglob("*.*")}):
        labels = folder / "yolo-seg" / "labels" / place.relative_to(root)
        settings = str(folder / "yolo-seg" / "data.yaml")
        yield from of_supervision(sv.DetectionDataset.from_yolo(str(place), str(labels), settings, True), root)


def ultralytics(folder: Path) -> Seen:
    """Its data set for training, at the photos' own size, where nothing is resized, with a mask an instance."""
    import os

    os.environ["YOLO_CONFIG_DIR"] = str(folder)
    import shutil

    import matplotlib
    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset
    from ultralytics.utils import USER_CONFIG_DIR

    # For its plots it would download a font when category names are not ASCII.
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    shutil.copy(font, Path(USER_CONFIG_DIR) / "Arial.Unicode.ttf")
    data = check_det_dataset(str(folder / "yolo-seg" / "data.yaml"))
    settings = get_cfg(overrides={"mask_ratio": 1, "overlap_mask": False})
    images = YOLODataset(data["train"], data=data, task="segment", imgsz=47, augment=False, hyp=settings)
    for item in images:
        (height, width), (_, (right, down)) = item["ori_shape"], item["ratio_pad"]
        name = Path(item["im_file"]).relative_to(folder / "yolo-seg" / "images").as_posix()
        top, left = round(down - 0.1), round(right - 0.1)
        for mask, category in zip(item["masks"], item["cls"].flatten(), strict=bool(len(item["cls"]))):
            yield name, data["names"][int(category)], mask.numpy()[top : top + height, left : left + width]


def torchvision(folder: Path) -> Seen:
    _name_operators()
    from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2

    path = str(folder / "coco" / "instances.json")
    data = CocoDetection(str(folder / "coco" / "images"), path)
    wrapped = wrap_dataset_for_transforms_v2(data, target_keys=["masks", "labels"])
    for number, (_, target) in zip(data.ids, wrapped, strict=True):
        name = data.coco.imgs[number]["file_name"]
        for mask, category in zip(target.get("masks", []), target.get("labels", []), strict=True):
            yield name, data.coco.cats[int(category)]["name"], mask.numpy()


def torchmetrics(folder: Path) -> Seen:
    _name_operators()
    from torchmetrics.detection import MeanAveragePrecision

    path = str(folder / "coco" / "instances.json")
    results = str(folder / "coco-results" / "results.json")
    document = json.loads(Path(path).read_text())
    categories = {each["id"]: each["name"] for each in document["categories"]}
    with_masks = {each["image_id"] for each in document["annotations"]}
    names = [each["file_name"] for each in document["images"] if each["id"] in with_masks]
    found, targets = MeanAveragePrecision(iou_type="segm").coco_to_tm(results, path, iou_type="segm")
    for name, seen, target in zip(names, found, targets, strict=True):
        assert (seen["masks"] == target["masks"]).all(), "results and truth differ"
        for mask, category in zip(seen["masks"], seen["labels"], strict=True):
            yield name, categories[int(category)], mask.numpy()


def fiftyone(folder: Path) -> Seen:
    """Its importer by itself, which needs no database; a mask is of its box's pixels."""
    from fiftyone.utils.coco import COCODetectionDatasetImporter

    path, images = folder / "coco" / "instances.json", folder / "coco" / "images"
    importer = COCODetectionDatasetImporter(
        data_path=str(images), labels_path=str(path), label_types="segmentations", include_id=False
    )
    with importer:
        for file, metadata, detections in importer:
            for each in detections.detections if detections else []:
                left, top = (
                    round(part * size)
                    for part, size in zip(each.bounding_box[:2], (metadata.width, metadata.height), strict=True)
                )
                mask = np.zeros((metadata.height, metadata.width), bool)
                mask[top : top + each.mask.shape[0], left : left + each.mask.shape[1]] = each.mask
                yield Path(file).relative_to(images).as_posix(), each.label, mask


def mmdet(folder: Path) -> Seen:
    _name_operators()
    # Compiled operators, of which loading uses none, are not in the wheel.
    sys.modules["mmcv._ext"] = type("NotCompiled", (type(sys),), {"__getattr__": lambda self, name: None})("mmcv._ext")
    from mmcv.transforms import LoadImageFromFile
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.transforms import LoadAnnotations

    path = folder / "lists" / "coco" / "instances.json"
    document = json.loads(path.read_text())
    names = {each["id"]: each["file_name"] for each in document["images"]}
    classes = tuple(each["name"] for each in document["categories"])
    data = CocoDataset(
        ann_file=str(path),
        data_prefix={"img": str(folder / "coco" / "images")},
        metainfo={"classes": classes},
        test_mode=True,
    )
    read, load = LoadImageFromFile(), LoadAnnotations(with_bbox=True, with_mask=True)
    for number in range(len(data)):
        item = load(read(data.get_data_info(number)))
        for mask, category in zip(item["gt_masks"].masks, item["gt_bboxes_labels"], strict=True):
            yield names[item["img_id"]], classes[category], mask


def sahi(folder: Path) -> Seen:
    from sahi.utils.coco import Coco

    for image in Coco.from_coco_dict_or_path(str(folder / "coco-polygon" / "instances.json")).images:
        for each in image.annotations:
            yield image.file_name, each.category_name, drawn(each.segmentation, image.height, image.width)


def sahi_drawing(folder: Path) -> Seen:
    from sahi.utils.coco import Coco
    from sahi.utils.cv import get_bool_mask_from_coco_segmentation

    for image in Coco.from_coco_dict_or_path(str(folder / "coco-polygon" / "instances.json")).images:
        for each in image.annotations:
            mask = get_bool_mask_from_coco_segmentation(each.segmentation, image.width, image.height)
            yield image.file_name, each.category_name, mask


def labelformat(folder: Path) -> Seen:
    from labelformat.formats.coco import COCOInstanceSegmentationInput

    for label in COCOInstanceSegmentationInput(folder / "coco-polygon" / "instances.json").get_labels():
        for each in label.objects:
            polygons = [[value for point in polygon for value in point] for polygon in each.segmentation.polygons]
            yield label.image.filename, each.category.name, drawn(polygons, label.image.height, label.image.width)


def drawn(polygons: list[list[float]], height: int, width: int) -> Any:
    """What COCO's polygons cover, for tools that keep them without drawing them."""
    from pycocotools import mask

    return mask.decode(mask.merge(mask.frPyObjects(polygons, height, width)))


def datumaro(folder: Path) -> Seen:
    import datumaro

    return of_datumaro(datumaro.Dataset.import_from(str(folder / "cvat"), "coco_instances"))


def datumaro_voc(folder: Path) -> Seen:
    import datumaro

    return of_datumaro(datumaro.Dataset.import_from(str(folder / "png"), "voc_segmentation"))


def datumaro_panoptic(folder: Path) -> Seen:
    import datumaro

    return of_datumaro(datumaro.Dataset.import_from(str(folder / "coco-panoptic"), "coco_panoptic"))


def of_datumaro(data: Any) -> Seen:
    import datumaro

    names = data.categories()[datumaro.AnnotationType.label]
    for item in data:
        for each in item.annotations:
            if hasattr(each, "image"):
                yield item.id, names[each.label].name, np.asarray(each.image)


def datasets(folder: Path) -> Seen:
    import datasets

    return of_datasets(
        datasets.load_dataset("imagefolder", data_dir=str(folder / "hf" / "train"), split="train"), folder
    )


def datasets_parquet(folder: Path) -> Seen:
    import datasets

    return of_datasets(datasets.load_dataset(str(folder / "parquet" / "hf"), split="train"), folder)


def of_datasets(data: Any, folder: Path) -> Seen:
    from pycocotools import mask

    names = {
        each["id"]: each["file_name"] for each in json.loads((folder / "coco" / "instances.json").read_text())["images"]
    }
    for row in data:
        assert row["image"].size == (row["width"], row["height"]), "the image is another"
        objects = row["objects"]
        for category, counts in zip(objects["category"], objects["counts"], strict=True):
            yield (
                names[row["image_id"]],
                category,
                mask.decode({"size": [row["height"], row["width"]], "counts": counts}),
            )


def detr(folder: Path) -> Seen:
    from PIL import Image
    from transformers import DetrImageProcessorPil

    document = json.loads((folder / "coco-polygon" / "instances.json").read_text())
    names = {each["id"]: each["name"] for each in document["categories"]}
    prepare = DetrImageProcessorPil(do_resize=False, do_pad=False)
    for image in document["images"]:
        of_image = [each for each in document["annotations"] if each["image_id"] == image["id"]]
        picture = Image.open(folder / "coco-polygon" / "images" / image["file_name"]).convert("RGB")
        target = {"image_id": image["id"], "annotations": of_image}
        (seen,) = prepare(picture, annotations=target, return_segmentation_masks=True, return_tensors="np")["labels"]
        for mask, category in zip(seen.get("masks", []), seen["class_labels"], strict=True):
            yield image["file_name"], names[int(category)], mask


def detr_panoptic(folder: Path) -> Seen:
    from PIL import Image
    from transformers import DetrImageProcessorPil

    document = json.loads((folder / "coco-panoptic" / "annotations" / "panoptic_default.json").read_text())
    names = {each["id"]: each["name"] for each in document["categories"]}
    prepare = DetrImageProcessorPil(do_resize=False, do_pad=False, format="coco_panoptic")
    masks = folder / "coco-panoptic" / "annotations" / "panoptic_default"
    for image, target in zip(document["images"], document["annotations"], strict=True):
        if not target["segments_info"]:
            continue
        picture = Image.open(folder / "coco-panoptic" / "images" / image["file_name"]).convert("RGB")
        (seen,) = prepare(picture, annotations=target, masks_path=masks, return_tensors="np")["labels"]
        for mask, category in zip(seen["masks"], seen["class_labels"], strict=True):
            yield image["file_name"], names[int(category)], mask


def mask2former(folder: Path) -> Seen:
    from PIL import Image
    from transformers import Mask2FormerImageProcessorPil

    lines = (folder / "png" / "labelmap.txt").read_text().splitlines()[1:]
    prepare = Mask2FormerImageProcessorPil(do_resize=False, size_divisor=1, ignore_index=255)
    for name in (folder / "png" / "ImageSets" / "Segmentation" / "default.txt").read_text().splitlines():
        objects = np.asarray(Image.open(folder / "png" / "SegmentationObject" / f"{name}.png"))
        classes = np.asarray(Image.open(folder / "png" / "SegmentationClass" / f"{name}.png"))
        ids = {int(each): int(classes[objects == each][0]) for each in np.unique(objects)}
        if set(ids) == {0}:
            continue
        picture = np.zeros((*objects.shape, 3), np.uint8)
        seen = prepare(
            [picture], segmentation_maps=[objects.astype(np.int32)], instance_id_to_semantic_id=ids, return_tensors="np"
        )
        for mask, category in zip(seen["mask_labels"][0], seen["class_labels"][0], strict=True):
            if category:
                yield name, lines[int(category)].split(":")[0], mask


def label_studio(folder: Path) -> Seen:
    brush = _file_of("label_studio_sdk", "converter/brush.py")
    for task in json.loads((folder / "labelstudio" / "tasks.json").read_text()):
        for each in task.get("predictions", [{"result": []}])[0]["result"]:
            pixels = brush.decode_rle(each["value"]["rle"])
            mask = pixels.reshape(each["original_height"], each["original_width"], 4)[:, :, 3]
            yield _unquoted(task["data"]["image"]), each["value"]["brushlabels"][0], mask


def cvat_sdk(folder: Path) -> Seen:
    from xml.etree import ElementTree

    from cvat_sdk.masks import encode_mask

    for image in ElementTree.parse(folder / "cvat" / "annotations.xml").getroot().findall("image"):
        for each in image.findall("mask"):
            left, top, width, height = (int(each.attrib[name]) for name in ("left", "top", "width", "height"))
            runs = [int(run) for run in each.attrib["rle"].split(",")]
            mask = np.zeros((int(image.attrib["height"]), int(image.attrib["width"])), bool)
            crop = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width)
            mask[top : top + height, left : left + width] = crop
            points = [*runs, left, top, left + width - 1, top + height - 1]
            assert encode_mask(mask, [left, top, left + width, top + height]) == points, "the SDK's points are others"
            yield image.attrib["name"], each.attrib["label"], mask


def _name_operators() -> None:
    """Wheels of torchvision for CUDA do not load their operators beside a PyTorch without, but look for these two."""
    import torch

    fragment = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        fragment.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(fragment)  # its definitions go with it


_kept: list[Any] = []


def _unquoted(address: str) -> str:
    from urllib.parse import unquote

    return unquote(address.partition("?d=images/")[2])


def _file_of(package: str, name: str) -> Any:
    """One file of a package, without what the rest of the package needs."""
    found = importlib.metadata.distribution(package.replace("_", "-")).locate_file(f"{package}/{name}")
    specification = importlib.util.spec_from_file_location("one_file", str(found))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def main(tool: str, package: str, folder: str, out: str) -> None:
    read: Callable[[Path], Seen] = globals()[tool]
    masks = [
        [image, category, ["".join("1" if pixel else "0" for pixel in row) for row in np.asarray(mask)]]
        for image, category, mask in read(Path(folder))
    ]
    version = importlib.metadata.version(package)
    Path(out).write_text(json.dumps({"version": version, "masks": masks}))


if __name__ == "__main__":
    main(*sys.argv[1:])
