"""Sites on a disk and on a real S3 server."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from tests.jobs.site import FakeLabeller, Site
from tests.s3_server import S3Server


@pytest.fixture(scope="session")
def nights_bucket(s3: S3Server) -> Store:
    """One bucket for all: the server sets several volumes aside for every bucket, and has few."""
    return Store(s3.bucket("nights"), Storage(endpoint_url=s3.endpoint_url))


@pytest.fixture(params=["disk", "s3"])
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    if request.param == "disk":
        return Site(Store(str(tmp_path / "root")), FakeLabeller(monkeypatch))
    bucket: Store = request.getfixturevalue("nights_bucket")
    return Site(Store(bucket.url(uuid.uuid4().hex[:8]), bucket.storage), FakeLabeller(monkeypatch))


@pytest.fixture
def disk_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(Store(str(tmp_path / "root")), FakeLabeller(monkeypatch))
