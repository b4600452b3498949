"""A data set and an undisturbed run for the whole session; outputs for every test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from tests.faults.data import Photos
from tests.faults.labelling import Labelling
from tests.s3_server import S3Server

IMAGES = 24


def a_store(server: S3Server, name: str, endpoint_url: str | None = None) -> Store:
    """A root of its own. All share a bucket: the server sets volumes aside for each, and has not many."""
    bucket = server.bucket("faults")
    root = f"{bucket}/{name}-{uuid.uuid4().hex[:8]}/"
    return Store(root, Storage(endpoint_url=endpoint_url or server.endpoint_url))


@pytest.fixture(scope="session")
def photos(s3: S3Server) -> Photos:
    """Pictures without any poison."""
    return Photos(a_store(s3, "photos"), IMAGES).write()


@pytest.fixture
def labelling(s3: S3Server, photos: Photos, tmp_path: Path) -> Iterator[Callable[..., Labelling]]:
    """Makes an output for a job on `photos` (or others); whatever still runs at the end of the test is ended."""
    made: list[Labelling] = []

    def make(photos: Photos = photos, store: Store | None = None, **overrides: Any) -> Labelling:
        directory = tmp_path / f"labelling-{len(made)}"
        directory.mkdir()
        made.append(Labelling(photos, store or a_store(s3, "output"), directory, overrides))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture(scope="session")
def undisturbed(s3: S3Server, photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Labelling:
    """What a run gives that nobody can disturb: one worker in this process, shard after shard, without a Ray."""
    labelling = Labelling(photos, a_store(s3, "undisturbed"), tmp_path_factory.mktemp("undisturbed"))
    labelling.run_here()
    labelling.assert_nothing_lost()
    return labelling
