"""The page's server, without a browser: what is listed, clicked, answered and refused."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from starlette.testclient import TestClient

from jobs.ui.tabs import Tabs
from pipeline.page.page import Page
from tests.jobs.ui.site import HOME, browser_on, draw_photos, page_over

PHOTOS = ["a.png", "b.png", "sub/c.png", "d.jpg"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ui")


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    draw_photos(folder / "photos", PHOTOS[:3])
    (folder / "photos" / "d.jpg").write_bytes(b"no image")
    (folder / "photos" / "notes.txt").write_text("nor this")
    (folder / "secret.png").write_bytes((folder / "photos" / "a.png").read_bytes())
    with page_over(folder / "photos", folder / "clicks.parquet") as page:
        yield page


@pytest.fixture(scope="module")
def browser(page: Page) -> TestClient:
    return browser_on(page)


def change(image: str, name: str, clicks: list[list[float]], tab: str = "t") -> dict[str, Any]:
    return {"tab": tab, "image": image, "objects": {name: {"category": "cat", "clicks": clicks}}}


def test_images_are_listed_in_pages_searched_and_filtered(browser: TestClient) -> None:
    def names(**asked: Any) -> list[str]:
        return [row["image"] for row in browser.get("/api/images", params=asked).json()["names"]]

    assert names() == ["a.png", "b.png", "d.jpg", "sub/c.png"]
    assert names(start=1, limit=2) == ["b.png", "d.jpg"]
    assert names(search="SUB") == ["sub/c.png"]
    browser.post("/api/clicks", json=change("b.png", "1", [[5, 6, 1]]))
    browser.post("/api/done", json={"tab": "t", "image": "a.png", "done": True})
    assert (names(show="clicked"), names(show="done")) == (["b.png"], ["a.png"])
    assert names(show="without") == ["a.png", "d.jpg", "sub/c.png"]


def test_a_click_gets_a_preview_and_an_exact_mask(browser: TestClient) -> None:
    question = {"image": "sub/c.png", "object": "1", "clicks": [[48, 36, 1]]}
    assert browser.post("/api/mask", json={**question, "exact": True}).json() == {"not_ready": True}
    assert browser.post("/api/look", json={"image": "sub/c.png", "ahead": ["a.png"]}).json() == {"ready": True}
    for exact in (False, True):
        answer = browser.post("/api/mask", json={**question, "exact": exact}).json()
        assert answer["exact"] is exact
        assert 0 <= answer["score"] <= 1
        cutout = answer["cutout"]
        mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(cutout["png"]))).convert("RGBA"))[..., 3]
        assert mask[36 - cutout["top"], 48 - cutout["left"]] == 255
        assert set(np.unique(mask)) <= {0, 255}
    curve = browser.get("/api/curve", params={"image": "sub/c.png", "x": 48, "y": 36}).json()
    assert len(curve["thresholds"]) == len(curve["scores"]) > 10
    shown = Image.open(io.BytesIO(browser.get("/api/map", params={"image": "sub/c.png", "x": 48, "y": 36}).content))
    assert shown.size == (96, 72)


def test_a_mask_stays_within_the_box_of_its_object(browser: TestClient) -> None:
    browser.post("/api/look", json={"image": "b.png", "ahead": []})
    question = {"image": "b.png", "object": "boxed", "clicks": [[48, 36, 1]], "box": [44, 32, 54, 42]}
    for exact in (False, True):
        cutout = browser.post("/api/mask", json={**question, "exact": exact}).json()["cutout"]
        assert cutout["left"] >= 42
        assert cutout["top"] >= 30
    refused = browser.post("/api/mask", json={**question, "box": [44, 32, 44, 42], "exact": True})
    assert (refused.status_code, "is none: it needs x0 < x1" in refused.text) == (400, True)


def test_clicks_are_in_the_file_when_it_is_written(browser: TestClient, page: Page) -> None:
    assert browser.post("/api/clicks", json=change("a.png", "tom", [[1, 2, 1], [3, 4, 0]])).json() == {"saved": True}
    assert browser.post("/api/write", json={}).json() == {"saved": True}
    rows = [row for row in pq.read_table(page.book.path).to_pylist() if row["image"] == "a.png"]
    assert [(row["object"], row["x"], row["y"], row["label"], row["category"]) for row in rows] == [
        ("tom", 1, 2, True, "cat"),
        ("tom", 3, 4, False, "cat"),
    ]
    found = browser.get("/api/image", params={"image": "a.png"}).json()
    assert (found["width"], found["height"]) == (96, 72)
    assert found["objects"] == [
        {"name": "tom", "category": "cat", "clicks": [[1, 2, True], [3, 4, False]], "box": None}
    ]


def test_a_broken_image_says_what_is_wrong_with_it(browser: TestClient) -> None:
    for path in ("/api/image", "/api/thumbnail", "/api/photo"):
        answer = browser.get(path, params={"image": "d.jpg"})
        assert answer.status_code == 422
        assert "d.jpg: not an image; allowed: JPEG" in answer.json()["error"]
    answer = browser.post("/api/look", json={"image": "d.jpg", "ahead": []})
    assert "not an image" in answer.json()["error"]
    assert browser.get("/api/photo", params={"image": "gone.png"}).status_code == 422


@pytest.mark.parametrize(
    "image", ["../secret.png", "/etc/passwd", "sub/../../secret.png", "file:///etc/passwd", "a\\b"]
)
@pytest.mark.parametrize("path", ["/api/image", "/api/thumbnail", "/api/photo", "/api/map"])
def test_paths_cannot_leave_the_root(browser: TestClient, path: str, image: str) -> None:
    answer = browser.get(path, params={"image": image, "x": 1, "y": 1})
    assert answer.status_code == 400
    assert f"image {image!r}: it " in answer.json()["error"]
    assert browser.post("/api/clicks", json=change(image, "1", [[1, 1, 1]])).status_code == 400


def test_static_files_cannot_be_left_either(browser: TestClient) -> None:
    assert browser.get("/static/main.js").status_code == 200
    assert browser.get("/static/..%2fapp.py").status_code == 404


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"host": "rebound.example:8765"}, "host: found 'rebound.example:8765'"),
        ({"host": "127.0.0.1:9"}, "host: found"),
        ({"origin": "https://evil.example"}, "origin: found 'https://evil.example'"),
        ({"origin": "null"}, "origin: found 'null'"),
        ({"sec-fetch-site": "cross-site"}, "another site's page"),
        ({"content-type": "text/plain"}, "allowed: application/json"),
    ],
)
def test_other_sites_cannot_ask(browser: TestClient, headers: dict[str, str], refused: str) -> None:
    answer = browser.post("/api/clicks", content=b"{}", headers={"content-type": "application/json", **headers})
    assert answer.status_code == 403
    assert refused in answer.json()["error"]


def test_its_own_page_may_ask_and_nothing_else_is_loaded(browser: TestClient) -> None:
    answer = browser.get("/", headers={"origin": HOME, "sec-fetch-site": "same-origin"})
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert browser.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200  # a link to it


def test_another_address_needs_the_token(page: Page) -> None:
    other = browser_on(page, token="secret")
    elsewhere = {"host": "labels.example:8765"}
    assert other.get("/api/images", headers=elsewhere).status_code == 401
    assert other.get("/?token=wrong", headers=elsewhere).status_code == 401
    assert other.get("/api/images?token=secret", headers=elsewhere).status_code == 401
    welcome = other.get("/?token=secret", headers=elsewhere, follow_redirects=False)
    assert welcome.headers["location"] == "/"
    assert "HttpOnly; Path=/; SameSite=strict" in welcome.headers["set-cookie"]
    assert other.get("/api/images", headers={**elsewhere, "cookie": "m2n2-token=secret"}).status_code == 200


def test_the_first_tab_writes_and_the_others_are_told() -> None:
    tabs = Tabs()
    first, second = tabs.join("one"), tabs.join("two")
    assert [tab.events.get_nowait()["writes"] for tab in (first, second)] == [True, False]
    tabs.take_over("two")
    assert [tab.events.get_nowait()["writes"] for tab in (first, second)] == [False, True]
    tabs.leave(second)
    assert (tabs.writer, first.events.get_nowait()["writes"]) == ("one", True)


def test_the_page_and_its_scripts_are_small() -> None:
    static = Path(__file__).parents[3] / "jobs" / "ui" / "static"
    assert sum(path.stat().st_size for path in static.iterdir()) < 150_000
