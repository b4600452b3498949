"""Real importers, in environments of their own, fed with hard masks: writes the table of docs/exports.md.

python -m tests.importers.compare [--environments DIR] [--fast | TOOL ...]     needs the package registry; minutes
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.attempts import all_attempts
from pipeline.export.format import Options
from pipeline.export.labels import labels_of_run
from pipeline.export.one_pass import FORMATS, export_labels
from pipeline.frozen_parts import freeze_parts
from pipeline.storage.store import Store
from tests.importers.environments import Environment, Pythons, say
from tests.pipeline.export.hard_masks import category_of, make_hard_run

PAGE = Path(__file__).parents[2] / "docs" / "exports.md"
BEGIN, END = "<!-- begin: python -m tests.importers.compare -->", "<!-- end -->"
READ_S = 600


OURS = Environment("m2n2's own", ())  # what m2n2 itself requires is tried where it is
COCO_TOOLS = Environment("coco", ("pycocotools", "pillow", "faster-coco-eval", "supervision", "kwcoco"))
LIGHT = Environment(
    "light",
    (
        "pycocotools",
        "pillow",
        "datasets",
        "cvat-sdk[masks]",
        "labelformat",
        "sahi",
    ),
    ("label-studio-sdk",),
)
OLD_SUPERVISION = Environment("supervision-0.27", ("supervision==0.27.*",))
DATUMARO = Environment("datumaro", ("datumaro",))
# The versions of PyTorch that m2n2 itself takes.
# mmdet refuses the newest mmcv; the whole of it is compiled when it is installed, the lite one is not.
TORCH = Environment(
    "torch",
    (
        "torch>=2.6,<2.14",
        "torchvision",
        "ultralytics",
        "torchmetrics",
        "pycocotools",
        "mmdet",
        "mmcv-lite<2.2",
        "mmengine",
    ),
)
FIFTYONE = Environment("fiftyone", ("fiftyone", "pycocotools"))
FAST = (OURS, COCO_TOOLS, LIGHT)


@dataclass(frozen=True)
class Importer:
    """A tool: where it is, which reader of readers.py, what it is fed with, and what it should see of the masks.

    `loses` says why a tool that cannot be exact is not; the table says so, with numbers.
    """

    name: str
    package: str
    reader: str
    command: str
    environment: Environment
    expected: str = "all"
    loses: str = ""


IMPORTERS = [
    Importer("pycocotools", "pycocotools", "pycocotools", "coco", OURS),
    Importer("pycocotools, counts as lists", "pycocotools", "pycocotools_lists", "coco --rle list", OURS),
    Importer("pycocotools, polygons", "pycocotools", "pycocotools_polygons", "coco-polygon", OURS),
    Importer("pycocotools, loadRes", "pycocotools", "pycocotools_results", "coco,coco-results", OURS),
    Importer("transformers, DETR", "transformers", "detr", "coco-polygon --with-images", OURS),
    Importer(
        "transformers, DETR panoptic",
        "transformers",
        "detr_panoptic",
        "coco-panoptic --with-images",
        OURS,
        "disjoint",
    ),
    Importer("transformers, Mask2Former", "transformers", "mask2former", "png --with-images", OURS, "disjoint"),
    Importer("faster-coco-eval", "faster-coco-eval", "faster_coco_eval", "coco", COCO_TOOLS),
    Importer("kwcoco", "kwcoco", "kwcoco", "coco", COCO_TOOLS),
    Importer("supervision", "supervision", "supervision", "coco --with-images", COCO_TOOLS),
    Importer("supervision, YOLO", "supervision", "supervision_yolo", "yolo-seg --with-images", COCO_TOOLS, "parts"),
    Importer("Hugging Face imagefolder", "datasets", "datasets", "hf --with-images", LIGHT),
    Importer("Hugging Face Parquet", "datasets", "datasets_parquet", "hf --parquet --with-images", LIGHT),
    Importer("Label Studio SDK", "label-studio-sdk", "label_studio", "labelstudio --with-images", LIGHT),
    Importer("CVAT SDK", "cvat-sdk", "cvat_sdk", "cvat", LIGHT),
    Importer("labelformat", "labelformat", "labelformat", "coco-polygon", LIGHT),
    Importer(
        "SAHI", "sahi", "sahi", "coco-polygon", LIGHT, loses="fills holes; of run lengths it takes the boxes only"
    ),
    Importer("supervision 0.27", "supervision", "supervision_yolo", "yolo-seg --with-images", OLD_SUPERVISION, "parts"),
    Importer("Datumaro, COCO", "datumaro", "datumaro", "cvat --with-images", DATUMARO),
    Importer("Datumaro, VOC", "datumaro", "datumaro_voc", "png --with-images", DATUMARO, "disjoint"),
    Importer("Datumaro, panoptic", "datumaro", "datumaro_panoptic", "coco-panoptic", DATUMARO, "disjoint"),
    Importer("torchvision", "torchvision", "torchvision", "coco --with-images", TORCH),
    Importer("torchmetrics", "torchmetrics", "torchmetrics", "coco,coco-results", TORCH),
    Importer("mmdet", "mmdet", "mmdet", "coco --rle list --with-images", TORCH),
    Importer("Ultralytics", "ultralytics", "ultralytics", "yolo-seg --with-images", TORCH, "parts"),
    Importer("FiftyOne", "fiftyone", "fiftyone", "coco --with-images", FIFTYONE),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, default=Path(".importers"), help="where they are kept")
    parser.add_argument("--fast", action="store_true", help="only tools that are quick to set up: what CI runs")
    parser.add_argument("tools", nargs="*", help="only these, by name; the page is written only of all tools")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="m2n2-importers-") as directory:
        expected = make_exports(Path(directory))
        wanted = [each for each in IMPORTERS if not options.tools or each.name in options.tools]
        if options.fast:
            wanted = [each for each in wanted if each.environment in FAST]
        lines, problems, pythons = [], 0, Pythons(options.environments.resolve())
        for importer in wanted:
            line, as_said = judged(importer, Path(directory), pythons, expected)
            problems += not as_said
            say(line)
            lines.append(line)
    if wanted == IMPORTERS:
        write_page(lines)
    say(
        f"{len(lines)} lines, {problems} not as expected; {time.monotonic() - began:.0f} s, {pythons.spent_s:.0f} s of "
        "them to set up environments"
    )
    sys.exit(1 if problems else 0)


Masks = Counter[tuple[str, str, str]]  # image without its ending, category, rows of 0 and 1


def make_exports(directory: Path) -> dict[str, Masks]:
    """Export the hard run in every way that an importer is fed with; returns what there is to see."""
    output, masks = make_hard_run(directory)
    labels = labels_of_run(freeze_parts(output, all_attempts(output)))
    images = Store(str(directory / "photos"))
    target = Store(str(directory))
    export_labels(labels, list(FORMATS), target, Options(images=images, with_images=True))
    export_labels(labels, ["coco"], Store(str(directory / "lists")), Options(rle="list"))
    parquet = Options(images=images, with_images=True, parquet=True)
    export_labels(labels, ["hf"], Store(str(directory / "parquet")), parquet)
    everything, disjoint, parts = Counter(), Counter(), Counter()
    covered: dict[str, np.ndarray] = {}
    for key, mask in sorted(masks.items(), key=lambda item: item[1].sum()):
        everything[entry(key[0], category_of(key), mask)] += 1
        before = covered.setdefault(key[0], np.zeros_like(mask))
        if (mask & ~before).any():
            disjoint[entry(key[0], category_of(key), mask & ~before)] += 1
        covered[key[0]] = before | mask
        count, places = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
        parts.update(entry(key[0], category_of(key), places == place) for place in range(1, count))
    return {"all": everything, "disjoint": disjoint, "parts": parts}


def entry(image: str, category: str | None, mask: np.ndarray) -> tuple[str, str, str]:
    """A mask as it is compared: images by their names without endings, which the hard run's do not share."""
    rows = "/".join("".join("1" if pixel else "0" for pixel in row) for row in mask)
    return str(Path(image).with_suffix("")), category or "", rows


def judged(importer: Importer, folder: Path, pythons: Pythons, expected: dict[str, Masks]) -> tuple[str, bool]:
    """A line of the table, and whether the importer sees what it should."""
    out = folder / "seen.json"
    out.unlink(missing_ok=True)
    command = f"`{importer.command}`"
    try:
        reading = [pythons.of(importer.environment), Path(__file__).with_name("readers.py"), importer.reader]
        done = subprocess.run(
            [*map(str, reading), importer.package, str(folder), str(out)],
            capture_output=True,
            text=True,
            check=False,
            timeout=READ_S,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        say(str(error))
        return f"| {importer.name} | | {command} | not run: {type(error).__name__} |", False
    if done.returncode != 0:
        say(done.stderr)
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return f"| {importer.name} | | {command} | fails: {last[:100]} |", False
    seen = json.loads(out.read_text())
    found = Counter(
        (str(Path(image).with_suffix("") if Path(image).suffix else image), category or "", "/".join(rows))
        for image, category, rows in seen["masks"]
    )
    wanted = expected[importer.expected]
    same, exact = sum((found & wanted).values()), found == wanted
    told = {"all": "exact", "disjoint": "exact, but that each pixel is one mask's", "parts": "exact, a part at a time"}
    loss = f": {importer.loses}" if importer.loses else ""
    result = told[importer.expected] if exact else f"{same} of {wanted.total()} masks exact, {found.total()} seen{loss}"
    return f"| {importer.name} | {seen['version']} | {command} | {result} |", exact != bool(importer.loses)


def write_page(lines: list[str]) -> None:
    """Put the table where the page has room for it."""
    text = PAGE.read_text(encoding="utf-8")
    head = "| tool | version | `m2n2 export OUTPUT --to PATH --format` | what it sees |\n|---|---|---|---|\n"
    table = head + "\n".join(lines)
    PAGE.write_text(f"{text[: text.index(BEGIN)]}{BEGIN}\n{table}\n{text[text.index(END) :]}", encoding="utf-8")


if __name__ == "__main__":
    main()
