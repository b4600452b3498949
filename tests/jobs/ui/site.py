"""A page over photos that the test draws, with a model that needs no weights; no browser, no port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.testclient import TestClient

from jobs.ui.app import make_app
from pipeline.config import job_of_keys
from pipeline.page.page import Page
from pipeline.storage.store import Store
from tests.pipeline.make_data import encode, picture

PORT = 8765
HOME = f"http://127.0.0.1:{PORT}"


def draw_photos(root: Path, names: list[str]) -> None:
    for name in names:
        Store(str(root)).put(name, encode(picture(96, 72)))


@contextmanager
def page_over(photos: Path, clicks: Path, output: Store | None = None) -> Iterator[Page]:
    keys = ["backbone.name=colour", "backbone.grid=12"]
    job = job_of_keys(
        {"images": str(photos), "clicks": str(clicks), "output": "none", "workers": {"gpus": 0}}, keys, "ui"
    )
    with Page(job, clicks, output) as page:
        assert page.images.wait(30)
        yield page


def browser_on(page: Page, token: str | None = None) -> TestClient:
    return TestClient(make_app(page, {"clicks": "clicks.parquet"}, PORT, token), base_url=HOME)
