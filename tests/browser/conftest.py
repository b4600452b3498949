"""A real server of the page, in a process of its own that tests may kill, and a real browser."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.storage.store import Store
from tests.pipeline.review.gallery import HEIGHT, WIDTH, Drawn, Gallery, draw_run

OPENED = "{}.png" + f"{WIDTH} × {HEIGHT}"  # what the title says once an image can be clicked on
GALLERY: Gallery = {
    (f"{number:02d}.png", "thing"): Drawn((10 + number, 10, 40 + number, 40), score=0.3 + number / 40)
    for number in range(12)
}


class Server:
    """`m2n2 ui` over a run's photos, with a model that needs no weights."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clicks = folder, folder / "fixed.parquet"
        self.run = draw_run(Store(str(folder)), GALLERY).output_store
        for number in range(12):
            _draw_photo(folder / "photos" / f"{number:02d}.png")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self, *keys: str, images: str | None = None) -> None:
        photos = images or str(self.folder / "photos")
        words = ["ui", photos, "--clicks", str(self.clicks), "--output", self.run.root]
        words += ["--port", str(self.port), "--backbone", "colour", "backbone.grid=16", *keys]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        assert self.address == f"http://127.0.0.1:{self.port}/"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(60)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.kill()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium where it is installed, else Playwright's own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install 'm2n2[test-ui]'")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """A tab on the server's page, with the first image ready; what its console says is in `page.said`."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(60_000)
    page.said = []
    page.on("console", lambda message: message.type == "error" and page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.goto(server.address)
    page.locator("#title", has_text=OPENED.format("00")).wait_for()
    yield page
    page.close()


def _draw_photo(path: Path) -> None:
    """A light disc and a dark square on blue, large enough to click on."""
    noise = np.random.default_rng(0).integers(0, 8, (HEIGHT, WIDTH, 3), np.uint8)
    photo = Image.fromarray(noise + np.array([40, 60, 140], np.uint8))
    draw = ImageDraw.Draw(photo)
    draw.circle((30, 30), 16, fill=(225, 230, 235))
    draw.rectangle((62, 34, 86, 62), fill=(15, 18, 22))
    photo.save(path)
