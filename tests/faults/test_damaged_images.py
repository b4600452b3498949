"""Damaged images, and keys that lead nowhere, through the whole pipeline; with more workers asked for than fit."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import pytest

from pipeline.failure import REASONS
from tests.faults.cluster import Cluster
from tests.faults.conftest import a_store
from tests.faults.data import Photos
from tests.faults.labelling import Labelling
from tests.pipeline.worker.test_fuzz_images import damaged_files
from tests.s3_server import S3Server

Make = Callable[..., Labelling]
DAMAGED = 60


@pytest.mark.faults
def test_every_damaged_image_is_accounted_for(
    labelling: Make, undisturbed: Labelling, s3: S3Server, cluster: Cluster
) -> None:
    sound = undisturbed.photos.count
    photos = Photos(a_store(s3, "damaged"), sound + DAMAGED).write()
    for number, (_, data) in enumerate(islice(damaged_files(2000), 0, 2000, 2000 // (DAMAGED - 2)), start=sound):
        photos.store.put(f"photos/{photos.name(number)}", data)
    photos.store.put(f"photos/{photos.name(sound + DAMAGED - 1)}", b"")

    run = labelling(photos, shard_images=16, limits={"max_failed_share": 1.0})
    driver = run.run(cluster, workers={"count": 8, "gpus": 0, "cpus": 1})
    run.assert_nothing_lost()
    assert "worker lost" not in driver.text()
    failed = {row["image"]: row["error"]["reason"] for row in run.rows() if row["error"]}
    assert set(failed.values()) <= REASONS.keys() - {"internal", "worker_crash", "worker_stuck"}
    assert len(failed) > DAMAGED / 3
    assert undisturbed.masks().items() <= run.masks().items(), "a sound image suffered from a damaged one"
