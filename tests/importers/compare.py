"""Real importers, each in an environment of its own, fed with hard masks: writes the table of docs/exports.md.

python -m tests.importers.compare [--environments DIR] [TOOL ...]     needs the package registry; minutes
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
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
from tests.pipeline.export.hard_masks import category_of, make_hard_run

PAGE = Path(__file__).parents[2] / "docs" / "exports.md"
BEGIN, END = "<!-- begin: python -m tests.importers.compare -->", "<!-- end -->"
MINUTES = 8


@dataclass(frozen=True)
class Importer:
    """A tool: what to install, which reader of readers.py, what it is fed with, and what it should see of the masks."""

    name: str
    package: str
    reader: str
    command: str
    expected: str = "all"
    install: tuple[str, ...] = ()
    best: bool = True  # a format that it should read exactly


OURS = ("with m2n2",)  # what m2n2 itself requires is tried where it is

IMPORTERS = [
    Importer("pycocotools", "pycocotools", "pycocotools", "coco", install=OURS),
    Importer("pycocotools, counts as lists", "pycocotools", "pycocotools_lists", "coco --rle list", install=OURS),
    Importer("pycocotools, polygons", "pycocotools", "pycocotools_polygons", "coco-polygon", install=OURS),
    Importer("pycocotools, loadRes", "pycocotools", "pycocotools_results", "coco,coco-results", install=OURS),
    Importer("transformers, DETR", "transformers", "detr", "coco-polygon --with-images", install=OURS),
    Importer(
        "transformers, DETR panoptic",
        "transformers",
        "detr_panoptic",
        "coco-panoptic --with-images",
        "disjoint",
        install=OURS,
    ),
    Importer("transformers, Mask2Former", "transformers", "mask2former", "png --with-images", "disjoint", install=OURS),
    Importer("faster-coco-eval", "faster-coco-eval", "faster_coco_eval", "coco"),
    Importer("kwcoco", "kwcoco", "kwcoco", "coco", install=("pycocotools", "opencv-python-headless")),
    Importer("supervision", "supervision", "supervision", "coco --with-images"),
    Importer("supervision, YOLO", "supervision", "supervision_yolo", "yolo-seg --with-images", "parts", best=False),
    Importer("Datumaro, COCO", "datumaro", "datumaro", "cvat --with-images"),
    Importer("Datumaro, VOC", "datumaro", "datumaro_voc", "png --with-images", "disjoint"),
    Importer("Datumaro, panoptic", "datumaro", "datumaro_panoptic", "coco-panoptic", "disjoint"),
    Importer("Hugging Face imagefolder", "datasets", "datasets", "hf --with-images", install=("pycocotools", "pillow")),
    Importer(
        "Hugging Face Parquet",
        "datasets",
        "datasets_parquet",
        "hf --parquet --with-images",
        install=("pycocotools", "pillow"),
    ),
    Importer(
        "Label Studio SDK", "label-studio-sdk", "label_studio", "labelstudio --with-images", install=("--no-deps",)
    ),
    Importer("CVAT SDK", "cvat-sdk", "cvat_sdk", "cvat", install=("cvat-sdk[masks]",)),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, default=Path(".importers"), help="where they are kept")
    parser.add_argument("tools", nargs="*", help="only these, by name; the page is written only without")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="m2n2-importers-") as directory:
        expected = make_exports(Path(directory))
        wanted = [each for each in IMPORTERS if not options.tools or each.name in options.tools]
        lines, problems = [], 0
        for importer in wanted:
            line, exact = judged(importer, Path(directory), options.environments.resolve(), expected)
            problems += importer.best and not exact
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            lines.append(line)
    if not options.tools:
        write_page(lines)
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


def judged(importer: Importer, folder: Path, environments: Path, expected: dict[str, Masks]) -> tuple[str, bool]:
    """A line of the table, and whether what the importer sees is exact."""
    out = folder / "seen.json"
    out.unlink(missing_ok=True)
    try:
        python = environment(importer, environments)
        command = [str(python), str(Path(__file__).with_name("readers.py")), importer.reader, importer.package]
        done = subprocess.run(
            [*command, str(folder), str(out)], capture_output=True, text=True, check=False, timeout=60 * MINUTES
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        return (
            f"| {importer.name} | | `{importer.command}` | not run: {type(error).__name__} while it was set up |",
            False,
        )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return f"| {importer.name} | | `{importer.command}` | fails: {last[:100]} |", False
    seen = json.loads(out.read_text())
    found = Counter(
        (str(Path(image).with_suffix("") if Path(image).suffix else image), category or "", "/".join(rows))
        for image, category, rows in seen["masks"]
    )
    wanted = expected[importer.expected]
    same, exact = sum((found & wanted).values()), found == wanted
    told = {"all": "exact", "disjoint": "exact, but that each pixel is one mask's", "parts": "exact, a part at a time"}
    result = told[importer.expected] if exact else f"{same} of {wanted.total()} masks exact, {found.total()} seen"
    return f"| {importer.name} | {seen['version']} | `{importer.command}` | {result} |", exact


def environment(importer: Importer, environments: Path) -> Path:
    """The Python of a tool's own environment, made where it is not there."""
    if importer.install == OURS:
        return Path(sys.executable)
    home = environments / "".join(
        letter if letter.isalnum() else "-" for letter in "-".join([importer.package, *importer.install])
    )
    python, ready = home / "bin" / "python", home / ".ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--prefer-binary"]
        if "--no-deps" in importer.install:
            subprocess.run([*install, "numpy", "pillow"], check=True, timeout=60 * MINUTES)
        subprocess.run([*install, importer.package, *importer.install], check=True, timeout=60 * MINUTES)
        ready.touch()
    return python


def write_page(lines: list[str]) -> None:
    """Put the table where the page has room for it."""
    text = PAGE.read_text(encoding="utf-8")
    head = "| tool | version | `m2n2 export OUTPUT --to PATH --format` | what it sees |\n|---|---|---|---|\n"
    table = head + "\n".join(lines)
    PAGE.write_text(f"{text[: text.index(BEGIN)]}{BEGIN}\n{table}\n{text[text.index(END) :]}", encoding="utf-8")


if __name__ == "__main__":
    main()
