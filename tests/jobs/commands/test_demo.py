"""What `m2n2 demo` shows while it runs; test_label.py runs its photos through Ray."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.commands.demo import DemoWatch, Steps, demo_job
from jobs.demo_photos import photos
from pipeline.config import Backbone
from pipeline.driver.progress import Snapshot
from pipeline.parts import commit_part, mask_row
from pipeline.plan import Plan, find_or_make_plan, read_shard
from pipeline.storage.store import Store


def label_upper_half(store: Store, plan: Plan, shard: int) -> str:
    """Commit a part whose masks are the upper half of its photo; returns the photo's name."""
    (image,) = read_shard(store, plan, shard)
    with Image.open(photos() / image.image) as photo:
        mask = np.zeros((photo.height, photo.width), bool)
    mask[: len(mask) // 2] = True
    commit_part(store, plan, shard, [image], [mask_row(each, mask, 0.5, 0.0) for each in image.objects])
    return image.image


@pytest.fixture
def shown(tmp_path: Path) -> tuple[Store, Plan, DemoWatch]:
    job = demo_job(tmp_path, "dinov2-small").model_copy(update={"backbone": Backbone(name="colour")})
    return job.output_store, find_or_make_plan(job), DemoWatch(job, tmp_path, Steps(time.monotonic()))


def test_it_says_what_it_waits_for_and_draws_every_photo_once_it_is_labelled(
    shown: tuple[Store, Plan, DemoWatch], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, plan, watch = shown
    assert [shard.images for shard in plan.shards] == [1] * 5
    snapshot = Snapshot.begin(plan, 5, 5)
    watch(snapshot)
    watch(replace(snapshot, workers=1))
    drawn = []
    for shard in range(4):
        drawn.append(label_upper_half(store, plan, shard))
        watch(replace(snapshot, workers=1))
        picture = np.asarray(Image.open(tmp_path / Path(drawn[-1]).with_suffix(".jpg").name))
        original = np.asarray(Image.open(photos() / drawn[-1]).convert("RGB"))
        difference = np.abs(picture.astype(int) - original).mean(axis=(1, 2))
        assert difference[10] > 20, "the mask is laid over the photo"
        assert difference[-10] < 10, "beside the mask the photo is as it was"
    assert not (tmp_path / "overlay.jpg").exists()
    label_upper_half(store, plan, 4)
    watch(replace(snapshot, workers=1))
    watch.draw_new()
    lines = capsys.readouterr().out.splitlines()
    texts = [line.split(" s  ")[1] for line in lines]
    assert texts[:2] == [
        "Ray runs; waiting for the worker to load the model",
        "the worker is ready; labelling 5 photos",
    ]
    assert [text.split()[0] for text in texts[2:7]] == [f"{number}/5" for number in range(1, 6)]
    assert texts[7:] == [f"all masks: {tmp_path}/overlay.jpg"]
    with Image.open(tmp_path / "overlay.jpg") as sheet:
        assert sheet.height == 360
        assert sheet.width > 5 * 300


def test_what_is_there_from_before_is_drawn_too(shown: tuple[Store, Plan, DemoWatch], tmp_path: Path) -> None:
    store, plan, watch = shown
    for shard in range(5):
        label_upper_half(store, plan, shard)
    watch.draw_new()
    assert len(list(tmp_path.glob("*.jpg"))) == 6
