"""What a box around the object is worth: mean IoU on a COCO document with masks, by what becomes of the box.

python -m benchmarks.boxes --data DIR [--weights dinov2-small] [--grid 64]

Each annotation's `bbox` is the box. `--box-clicks` of `m2n2 clicks import` is tried in its three ways, without the box
in the prompt (the clicks alone) and with it.
"""

from __future__ import annotations

import argparse

import numpy as np

from m2n2 import Prompt, Scene, Settings
from m2n2.backbones import load_backbone
from m2n2.backbones.reading import read_image
from m2n2.evaluation.session import intersection_over_union
from pipeline.evaluation.truths import find_truths
from pipeline.importing.box_clicks import clicks_of_box
from pipeline.importing.formats.coco import read_boxes
from pipeline.importing.objects import ImportedObject, Source
from pipeline.storage.store import Store
from pipeline.worker.images import decode_image

WAYS = [(how, boxed) for boxed in (False, True) for how in ("centre", "outside", "grid")]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", default="dinov2-small")
    parser.add_argument("--grid", type=int, default=64)
    parser.add_argument("--refined", action="store_true")
    options = parser.parse_args()
    settings = Settings.refined() if options.refined else Settings()
    backbone = load_backbone("dinov2", weights=options.weights, grid=options.grid)
    data = find_truths(Store(options.data))
    source = Source(f"{options.data}/instances.json", Store(""))
    boxes = {each.object: each for each in read_boxes(source) if isinstance(each, ImportedObject)}
    ious: dict[tuple[str, bool], list[float]] = {way: [] for way in WAYS}
    for image in data.images:
        pixels = decode_image(data.read(image.key), image.key)
        scene = Scene(pixels, read_image(backbone, pixels, settings), settings)
        truths = [data.mask(image, truth, pixels.shape[:2]) for truth in image.objects]
        objects = [boxes[truth.name] for truth in image.objects]
        for how, boxed in WAYS:
            prompts = [_prompt(each, how, boxed) for each in objects]
            for mask, truth in zip(scene.segment(prompts), truths, strict=True):
                ious[how, boxed].append(intersection_over_union(mask.mask, truth))
    print(f"{len(ious['centre', False])} objects of {len(data.images)} images, grid {options.grid}")
    for (how, boxed), found in ious.items():
        good = np.mean(np.array(found) > 0.5)
        way = f"{how:8} {'clicks and box' if boxed else 'clicks alone':14}"
        print(f"{way}  mean IoU {np.mean(found):.3f}  above 0.5: {good:.0%}")


def _prompt(each: ImportedObject, how: str, boxed: bool) -> Prompt:
    assert each.box is not None, "it was read from boxes"
    clicks = clicks_of_box(each, each.box, how)
    return Prompt([click[:2] for click in clicks], [click[2] for click in clicks], each.box if boxed else None)


if __name__ == "__main__":
    main()
