"""A run whose masks are drawn by the test: rectangles, with scores and clicks as the test says. No Ray, no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from pipeline.clicks import ObjectClicks
from pipeline.config import Job, parse_job
from pipeline.failure import Failure
from pipeline.parts import Row, commit_part, error_row, mask_row
from pipeline.plan import Plan, find_or_make_plan, read_shard
from pipeline.storage.store import Store
from tests.pipeline.make_data import encode, parquet, picture

WIDTH, HEIGHT = 96, 72


@dataclass(frozen=True)
class Drawn:
    """One object: its mask is the rectangle (left, top, right, bottom), or it failed; clicked at x, y."""

    box: tuple[int, int, int, int] = (10, 10, 30, 30)
    score: float = 0.9
    category: str = "thing"
    click: tuple[float, float] | None = None
    failure: str | None = None

    @property
    def clicked(self) -> tuple[float, float]:
        left, top, right, bottom = self.box
        return self.click or ((left + right) / 2, (top + bottom) / 2)

    @property
    def mask(self) -> np.ndarray:
        mask = np.zeros((HEIGHT, WIDTH), bool)
        left, top, right, bottom = self.box
        mask[top:bottom, left:right] = True
        return mask


Gallery = Mapping[tuple[str, str], Drawn]


def draw_run(root: Store, gallery: Gallery, shard_images: int = 2, without_photos: Sequence[str] = ()) -> Job:
    """A complete run of these objects below `root`, with photos; returns its job."""
    rows = []
    for (image, name), drawn in gallery.items():
        if image not in without_photos:
            root.put(f"photos/{image}", encode(picture(WIDTH, HEIGHT)))
        x, y = drawn.clicked
        rows.append({"image": image, "object": name, "x": x, "y": y, "category": drawn.category})
    root.put("clicks/a.parquet", parquet(rows))
    job = parse_job(
        {
            "images": root.url("photos/"),
            "clicks": root.url("clicks/*.parquet"),
            "output": root.url("labels"),
            "backbone": {"name": "colour", "grid": 16},
            "workers": {"count": 1, "gpus": 0},
            "shard_images": shard_images,
            "storage": asdict(root.storage),
        },
        "job",
    )
    draw_parts(job.output_store, find_or_make_plan(job), gallery)
    return job


def draw_parts(store: Store, plan: Plan, gallery: Gallery) -> None:
    """Commit every part of a plan with the masks that were drawn."""
    for shard in plan.shards:
        images = read_shard(store, plan, shard.index)
        rows = [_row(each, gallery[each.image, each.object]) for image in images for each in image.objects]
        commit_part(store, plan, shard.index, images, rows)


def _row(clicks: ObjectClicks, drawn: Drawn) -> Row:
    if drawn.failure:
        return error_row(clicks, Failure(drawn.failure, f"told to: <b>{drawn.failure}</b>"))
    return mask_row(clicks, drawn.mask, drawn.score, seconds=0.5)
