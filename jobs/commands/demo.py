"""`m2n2 demo`: the whole product on this machine, on photos that scikit-image ships."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.label import label_job
from jobs.console import duration, say

if TYPE_CHECKING:
    from pipeline.config import Job

GRID = 64


def demo(to: Annotated[Path, typer.Option(metavar="DIR")] = Path("demo")) -> int:
    """Label a few photos on this machine and draw the masks.

    Example: m2n2 demo --to demo
    """
    from jobs.demo_photos import draw_overlays, photos, write_clicks
    from pipeline.weights.fetch import fetch_weights

    started = time.monotonic()
    to.mkdir(parents=True, exist_ok=True)
    write_clicks(to / "clicks.parquet")
    code = label_job(_job(to, str(fetch_weights("dinov2-small"))))
    instances = to / "labels" / "export" / "coco" / "instances.json"
    overlay = to / "overlay.jpg"
    draw_overlays(instances, photos(), overlay)
    say(f"masks    {instances}\npicture  {overlay}\ntook     {duration(time.monotonic() - started)}")
    return code


def _job(directory: Path, weights: str) -> Job:
    from jobs.demo_photos import photos
    from pipeline.config import parse_job

    document = {
        "images": str(photos()),
        "clicks": str(directory / "clicks.parquet"),
        "output": str(directory / "labels"),
        "backbone": {"name": "dinov2", "weights": weights, "grid": GRID},
        "workers": {"count": 1, "gpus": 0, "cpus": 2},
    }
    return parse_job(document, "demo")
