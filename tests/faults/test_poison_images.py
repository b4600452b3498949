"""Images that kill their worker: each becomes an error row with the reason, and no neighbour is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.cluster import Cluster
from tests.faults.conftest import a_store
from tests.faults.data import CLICKS, Photos
from tests.faults.labelling import Labelling
from tests.s3_server import S3Server

Make = Callable[..., Labelling]
REASONS = {
    "segfault": "worker_crash",
    "hang": "worker_stuck",
    "hold_gil": "worker_stuck",
    "eat_memory": "out_of_memory",
}


# Far more than a sound image takes, also a worker's first one on a machine that others use.
IMAGE_TIMEOUT_S = 10.0


@pytest.mark.faults
@pytest.mark.parametrize(
    ("poisonous", "shard_images"),
    [
        pytest.param({4: "segfault", 17: "eat_memory"}, 4, id="killed-and-full"),
        pytest.param({11: "hang"}, 1, id="stuck"),
        pytest.param({0: "hold_gil", 23: "segfault"}, 4, id="first-and-last", marks=pytest.mark.slow),
        pytest.param({8: "segfault", 9: "segfault", 10: "hang"}, 8, id="side-by-side", marks=pytest.mark.slow),
    ],
)
def test_a_poisonous_image_is_found_and_its_neighbours_are_labelled(
    labelling: Make,
    undisturbed: Labelling,
    s3: S3Server,
    cluster: Cluster,
    poisonous: dict[int, str],
    shard_images: int,
) -> None:
    photos = Photos(a_store(s3, "poison"), undisturbed.photos.count, poisonous).write()
    run = labelling(photos, limits={"image_timeout_s": IMAGE_TIMEOUT_S, "max_failed_share": 1.0})
    run.run(cluster, shard_images=shard_images, workers={"count": 2, "gpus": 0, "cpus": 1})
    run.assert_nothing_lost()

    found = {(row["image"], row["object"]): row["error"]["reason"] for row in run.rows() if row["error"]}
    names = photos.poisonous_names
    assert found == {(image, each): REASONS[poison] for image, poison in names.items() for each in CLICKS}
    neighbours = {key: mask for key, mask in undisturbed.masks().items() if key[0] not in names}
    assert {key: mask for key, mask in run.masks().items() if key[0] not in names} == neighbours
