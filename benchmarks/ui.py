"""How soon the page of `m2n2 ui` shows something, and how soon a click is answered, in a real Chromium.

    python -m benchmarks.ui [--images 100000] [--megapixels 1 12]

The first paint is measured from the request for the page until names and thumbnails' places are there, on a server
that was started just before; clicks from the button until the canvas shows another mask, with the small DINOv2 on a
64 x 64 grid (`m2n2 weights fetch dinov2-small`). Needs the extra `test-ui`, and chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

CLICKS = 7
LISTED = "() => document.querySelectorAll('#list .item').length >= 5"
SCORED = (
    "(preview) => { const text = document.querySelector('#objects .active .score')?.textContent ?? ''; "
    "return /score/.test(text) && (preview || !text.includes('≈')); }"
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--megapixels", type=float, nargs="*", default=[1, 12])
    parser.add_argument("--backbone", default="dinov2")
    chosen = parser.parse_args()
    from playwright.sync_api import sync_playwright

    print(f"load {os.getloadavg()[0]:.1f}")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        _first_paint(browser, Path(folder), chosen)
        for megapixels in chosen.megapixels:
            _clicks(browser, Path(folder), megapixels, chosen.backbone)
        browser.close()


def _first_paint(browser: Any, folder: Path, chosen: argparse.Namespace) -> None:
    photos = folder / "many"
    photos.mkdir()
    Image.fromarray(_photo(48, 64)).save(folder / "small.jpg")
    data = (folder / "small.jpg").read_bytes()
    for number in range(chosen.images):
        (photos / f"IMG_{number:07d}.jpg").write_bytes(data)
    browser.new_page().goto("about:blank")
    with _server(photos, folder / "many.parquet", "colour", "backbone.grid=16") as address:
        page = browser.new_page()
        started = time.perf_counter()
        page.goto(address, wait_until="commit")
        page.wait_for_function(LISTED)
        print(f"{chosen.images} images: first names after {time.perf_counter() - started:.2f} s", end=", ")
        page.wait_for_function(
            "() => /images$/.test(document.querySelector('#list-foot').textContent)", timeout=300_000
        )
        print(f"all listed after {time.perf_counter() - started:.2f} s")
        page.close()


def _clicks(browser: Any, folder: Path, megapixels: float, backbone: str) -> None:
    photos = folder / f"{megapixels:g}"
    photos.mkdir()
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    Image.fromarray(_photo(width * 3 // 4, width)).save(photos / "a.jpg", quality=92)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with _server(photos, folder / f"{megapixels:g}.parquet", backbone) as address:
        page = browser.new_page(viewport={"width": 1360, "height": 860})
        page.set_default_timeout(300_000)
        page.goto(address)
        page.wait_for_function("() => document.querySelector('#title').textContent.includes('×')")
        started = time.perf_counter()
        page.evaluate(
            "() => fetch('/api/look', {method: 'POST', headers: {'content-type': 'application/json'}, "
            "body: JSON.stringify({image: 'a.jpg', ahead: []})})"
        )
        print(f"{megapixels:g} megapixels: ready after {time.perf_counter() - started:.1f} s", end=", ")
        box = page.locator("#stage").bounding_box()
        for number in range(CLICKS):
            page.keyboard.press("n")
            started = time.perf_counter()
            page.mouse.click(box["x"] + box["width"] * (0.3 + 0.05 * number), box["y"] + box["height"] / 2)
            for preview in (True, False):
                page.wait_for_function(SCORED, arg=preview, polling="raf")
                seconds[preview].append(time.perf_counter() - started)
        page.close()
    for preview, name in ((True, "preview"), (False, "exact mask")):
        some = seconds[preview]
        print(f"{name} {statistics.median(some):.2f} s (median), {max(some):.2f} s (slowest of {len(some)})", end=", ")
    print()


@contextmanager
def _server(photos: Path, clicks: Path, backbone: str, *keys: str) -> Iterator[str]:
    words = ["ui", str(photos), *keys, "--clicks", str(clicks), "--port", "0", "--backbone", backbone]
    process = subprocess.Popen([sys.executable, "-m", "jobs.cli", *words], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def _photo(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height)).filter(ImageFilter.GaussianBlur(2)))


if __name__ == "__main__":
    main()
