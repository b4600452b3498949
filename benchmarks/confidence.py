"""Fit the built-in calibration of scores, and say how well scores tell the IoU of masks that they were not fitted on.

    python -m benchmarks.confidence gather --data DIR --to rows.jsonl [--head refined] [--noise 0.3] ...

    python -m benchmarks.confidence fit rows.jsonl ...

DIR holds `grabcut/` (images/ and masks/) and `coco_multi/` (images/ and instances.json). Clicks are the protocol's, on
all objects of a photo together, up to five. `gather` adds a line a mask and goes on where it was stopped; it also says
which share of the CPU seconds the evidence took. `fit` fits on GrabCut's even photos (of the sorted ones) and on
coco_multi, where every object counts the same and both sets do, with masks of 1, 2, 3 and 5 clicks. It reports

- cross-validation: every photo scored by a fit on the other seven eighths of photos;
- GrabCut's odd photos, scored by the fit on all others;
- stability alone, which was the score before.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from m2n2 import Scene, Settings
from m2n2.backbones import load_backbone
from m2n2.backbones.reading import read_image
from m2n2.confidence.calibration import Calibration
from m2n2.confidence.evidence import Evidence
from m2n2.confidence.fit import agreement, fit_calibration
from m2n2.evaluation import ClickRule, click_objects
from m2n2.evaluation.session import intersection_over_union
from m2n2.nearest_neighbour import keep_apart
from m2n2.scene import scene as scene_module
from pipeline.evaluation.truths import TruthData, TruthImage, find_truths
from pipeline.storage.store import Store
from pipeline.worker.images import decode_image

CLICKS = 5
FITTED_CLICKS = (1, 2, 3, 5)
FOLDS = 8
FITTED_SETS = ("grabcut even", "coco_multi")

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    gathering = commands.add_parser("gather")
    gathering.add_argument("--data", type=Path, required=True)
    gathering.add_argument("--to", type=Path, required=True)
    gathering.add_argument("--head", choices=["default", "reference", "refined"], default="default")
    gathering.add_argument("--noise", type=float, default=0.0)
    gathering.add_argument("--working-pixels", type=_auto_or_number, default=Settings().working_pixels)
    gathering.add_argument("--weights", default="dinov2-small")
    gathering.set_defaults(run=gather)
    fitting = commands.add_parser("fit")
    fitting.add_argument("rows", type=Path, nargs="+")
    fitting.set_defaults(run=fit)
    options = parser.parse_args()
    options.run(options)


def _auto_or_number(text: str) -> int | Literal["auto"]:
    return "auto" if text == "auto" else int(text)


def gather(options: argparse.Namespace) -> None:
    settings = getattr(Settings, options.head)() if options.head != "default" else Settings()
    settings = replace(settings, working_pixels=options.working_pixels)
    backbone = load_backbone("dinov2", weights=options.weights, grid=64)
    known = {json.loads(line)["photo"] for line in options.to.open()} if options.to.exists() else set()
    with options.to.open("a") as file:
        for name, data, image in photos(options.data):
            if image.key in known:
                continue
            clock = EvidenceClock()
            began = time.process_time()
            pixels = decode_image(data.read(image.key), image.key)
            scene = Scene(pixels, read_image(backbone, pixels, settings), settings, overwrite_attention=True)
            rows = list(masks_of(scene, data, image, pixels.shape[:2], ClickRule(noise=options.noise)))
            shared = {"set": name, "photo": image.key, "head": options.head, "noise": options.noise}
            times = {"seconds": time.process_time() - began, "evidence_seconds": clock.stop()}
            file.writelines(json.dumps(shared | times | row) + "\n" for row in rows)
            file.flush()
            print(name, image.key, {key: round(value, 2) for key, value in times.items()}, flush=True)


def photos(root: Path) -> Iterator[tuple[str, TruthData, TruthImage]]:
    coco = find_truths(Store(str(root / "coco_multi")))
    yield from (("coco_multi", coco, image) for image in coco.images)
    grabcut = find_truths(Store(str(root / "grabcut")))
    yield from (("grabcut even", grabcut, image) for image in grabcut.images[0::2])
    yield from (("grabcut odd", grabcut, image) for image in grabcut.images[1::2])


def masks_of(scene: Scene, data: TruthData, image: TruthImage, size: tuple[int, int], rule: ClickRule) -> Iterator[Row]:
    """A row a mask that has evidence: object, clicks, IoU, IoU where objects are made exclusive, evidence."""
    truths = [data.mask(image, each, size) for each in image.objects]
    rounds = []

    def segment(prompts: Any) -> list[np.ndarray]:
        masks = scene.segment(prompts)
        apart = [mask.mask.copy() for mask in masks]
        firsts = [
            [(int(x), int(y)) for (x, y), label in zip(p.points, p.labels, strict=True) if label] for p in prompts
        ]
        keep_apart(apart, firsts)
        exclusive = [intersection_over_union(*pair) for pair in zip(apart, truths, strict=True)]
        rounds.append([(mask.evidence, iou) for mask, iou in zip(masks, exclusive, strict=True)])
        return [mask.mask for mask in masks]

    sessions = click_objects(segment, truths, rule, CLICKS, [f"{image.key} {each.name}" for each in image.objects])
    for number, (truth, session) in enumerate(zip(image.objects, sessions, strict=True)):
        for found, iou in zip(rounds, session.ious, strict=False):
            evidence, exclusive = found[number]
            if evidence is not None:
                yield {"object": truth.name, "iou": iou, "iou_exclusive": exclusive, "evidence": asdict(evidence)}


class EvidenceClock:
    """CPU seconds that gathering evidence takes, in whatever threads, until it is stopped."""

    def __init__(self) -> None:
        self._original, self._seconds = scene_module.gather_evidence, 0.0
        scene_module.gather_evidence = self._timed

    def stop(self) -> float:
        scene_module.gather_evidence = self._original
        return self._seconds

    def _timed(self, *arguments: Any) -> Evidence:
        began = time.thread_time()
        found = self._original(*arguments)
        self._seconds += time.thread_time() - began
        return found


def fit(options: argparse.Namespace) -> None:
    rows = [json.loads(line) for path in options.rows for line in path.open()]
    for row in rows:
        row["evidence"] = Evidence(**row["evidence"])
    rows = [row for row in rows if row["evidence"].clicks in FITTED_CLICKS]
    fitted = [row for row in rows if row["set"] in FITTED_SETS]
    names = sorted({row["photo"] for row in fitted})
    np.random.default_rng(1).shuffle(names)
    for fold in range(FOLDS):
        left_out = set(names[fold::FOLDS])
        calibration = fit_rows([row for row in fitted if row["photo"] not in left_out])
        for row in fitted:
            if row["photo"] in left_out:
                row["score"] = calibration.estimate(row["evidence"])
    calibration = fit_rows(fitted)
    print(json.dumps(calibration.as_plain(), indent=4))
    for row in rows:
        if row["set"] not in FITTED_SETS:
            row["score"] = calibration.estimate(row["evidence"])
    report(rows)
    by_photo = {(row["photo"], row["head"], row["noise"]): (row["evidence_seconds"], row["seconds"]) for row in rows}
    evidence_s, seconds = np.sum(list(by_photo.values()), axis=0)
    print(f"evidence: {evidence_s:.1f} of {seconds:.1f} CPU seconds, {evidence_s / seconds:.1%}")


def fit_rows(rows: list[Row]) -> Calibration:
    """Both sets count the same; an object of more masks counts no more than one of few."""
    of_set = {name: sum(row["set"] == name for row in rows) for name in FITTED_SETS}
    weights = [len(rows) / 2 / of_set[row["set"]] for row in rows]
    return fit_calibration([row["evidence"] for row in rows], [row["iou"] for row in rows], weights=weights)


def report(rows: list[Row]) -> None:
    print(f"{'':34}{'masks':>7}{'rank correlation':>18}{'reliability error':>19}{'exclusive':>16}{'stability':>11}")
    everything: dict[str, Callable[[Row], bool]] = {
        "cross-validated": lambda row: row["set"] in FITTED_SETS,
        "coco_multi": lambda row: row["set"] == "coco_multi",
        "grabcut even": lambda row: row["set"] == "grabcut even",
        "grabcut odd": lambda row: row["set"] == "grabcut odd",
    }
    for head in sorted({row["head"] for row in rows}):
        for name, belongs in everything.items():
            for clicks in (FITTED_CLICKS[:3], *((each,) for each in FITTED_CLICKS)):
                chosen = [r for r in rows if r["head"] == head and belongs(r) and r["evidence"].clicks in clicks]
                if chosen:
                    print_line(f"{head}, {name}, clicks {','.join(map(str, clicks))}", chosen)


def print_line(title: str, rows: Iterable[Row]) -> None:
    rows = list(rows)
    scores, ious = [row["score"] for row in rows], [row["iou"] for row in rows]
    one, other = agreement(scores, ious), agreement(scores, [row["iou_exclusive"] for row in rows])
    before = agreement([row["evidence"].stability for row in rows], ious).rank_correlation
    print(
        f"{title:34}{one.objects:7}{one.rank_correlation:18.2f}{one.reliability_error:19.3f}"
        f"{other.rank_correlation:10.2f} {other.reliability_error:.2f}{before:10.2f}"
    )


if __name__ == "__main__":
    main()
