"""The page in a real browser: clicking, saving, losing the server, reviewing by keyboard, and who can use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.cli import main
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from tests.browser.conftest import GALLERY, OPENED, Server
from tests.pipeline.review.gallery import HEIGHT, WIDTH
from tests.s3_server import S3Server

pytestmark = pytest.mark.browser

DISC, SQUARE = (30, 30), (74, 48)
PIXELS_LIKE = """([r, g, b]) => {
    const canvas = document.getElementById("stage");
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let found = 0;
    for (let i = 0; i < data.length; i += 4)
        if (Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 40) found++;
    return found;
}"""
PLACE = "(n) => document.querySelector('#queue [aria-selected=true]')?.getAttribute('aria-posinset') == n"
FIRST_COLOUR, SECOND_COLOUR = [255, 176, 0], [108, 155, 255]


def click(page: Any, at: tuple[int, int], button: str = "left") -> None:
    box = page.locator("#stage").bounding_box()
    scale = 0.96 * min(box["width"] / WIDTH, box["height"] / HEIGHT)
    x = box["x"] + box["width"] / 2 + (at[0] + 0.5 - WIDTH / 2) * scale
    y = box["y"] + box["height"] / 2 + (at[1] + 0.5 - HEIGHT / 2) * scale
    page.mouse.click(x, y, button=button)


def wait_for_masks(page: Any) -> None:
    page.wait_for_function("""() => {
        const scores = [...document.querySelectorAll("#objects .score")];
        return scores.length && scores.every((each) => /score/.test(each.textContent) && !/≈/.test(each.textContent));
    }""")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def pixels_like(page: Any, colour: list[int]) -> int:
    return int(page.evaluate(PIXELS_LIKE, colour))


def saved(page: Any) -> None:
    page.locator("#saved", has_text="Saved in").wait_for()


def rows(server: Server) -> list[tuple[Any, ...]]:
    return [
        tuple(row[name] for name in ("image", "object", "x", "y", "label", "category"))
        for row in pq.read_table(server.clicks).to_pylist()
    ]


def test_a_click_shows_a_mask_and_all_of_it_is_there_again(page: Any, server: Server) -> None:
    assert pixels_like(page, FIRST_COLOUR) == 0
    click(page, DISC)
    wait_for_masks(page)
    edge = pixels_like(page, FIRST_COLOUR)
    assert edge > 200
    page.keyboard.press("u")
    page.locator("#objects", has_text="No objects yet").wait_for()
    page.wait_for_function(f"() => ({PIXELS_LIKE})({FIRST_COLOUR}) === 0")
    page.keyboard.press("y")
    wait_for_masks(page)
    assert pixels_like(page, FIRST_COLOUR) == edge
    page.keyboard.press("n")
    page.keyboard.press("c")
    page.keyboard.type("square")
    page.keyboard.press("Enter")
    click(page, SQUARE)
    click(page, (5, 5), button="right")
    wait_for_masks(page)
    assert pixels_like(page, SECOND_COLOUR) > 200
    saved(page)
    page.reload()
    page.locator("#objects .object").nth(1).wait_for()
    wait_for_masks(page)
    assert pixels_like(page, SECOND_COLOUR) > 200
    assert page.said == []
    assert server.end() == 0
    assert rows(server) == [
        ("00.png", "1", *DISC, True, "object"),
        ("00.png", "2", *SQUARE, True, "square"),
        ("00.png", "2", 5, 5, False, "square"),
    ]


def test_a_killed_server_loses_nothing_and_the_page_goes_on(page: Any, server: Server) -> None:
    click(page, DISC)
    saved(page)
    server.kill()
    page.locator("#saved", has_text="Server lost").wait_for()
    page.keyboard.press("n")
    click(page, SQUARE)
    page.locator("#saved", has_text="1 change wait").wait_for()
    server.start()
    saved(page)
    wait_for_masks(page)
    assert server.end() == 0
    assert [row[1:4] for row in rows(server)] == [("1", *DISC), ("2", *SQUARE)]


def test_the_categories_of_a_job_are_offered_and_no_others_taken(page: Any, server: Server) -> None:
    (server.folder / "categories.json").write_text('[{"id": 9, "name": "disc"}, {"id": 2, "name": "box"}]')
    assert server.end() == 0
    server.start(f"categories={server.folder / 'categories.json'}")
    page.goto(server.address)
    page.locator("#title", has_text=OPENED.format("00")).wait_for()
    click(page, DISC)
    assert page.locator("#objects input").input_value() == "disc", "the first one, in the order of the file"
    for typed, taken in (("dics", "disc"), ("box", "box")):
        page.keyboard.press("c")
        page.keyboard.type(typed)
        page.keyboard.press("Enter")
        assert page.locator("#objects input").input_value() == taken
        if typed != taken:
            page.locator("#message", has_text="There is no category “dics”. Allowed: disc, box").wait_for()
    saved(page)
    assert server.end() == 0
    assert rows(server) == [("00.png", "1", *DISC, True, "box")]


def test_a_second_tab_is_told_and_may_take_over(page: Any, browser: Any, server: Server) -> None:
    second = browser.new_page()
    second.goto(server.address)
    second.locator("#other-tab").wait_for()
    assert page.locator("#other-tab").is_hidden()
    second.locator("#take-over").click()
    page.locator("#other-tab").wait_for()
    second.locator("#other-tab").wait_for(state="hidden")
    second.close()
    page.locator("#other-tab").wait_for(state="hidden")


def test_everything_by_keyboard_alone(page: Any, server: Server) -> None:
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("PageDown")
    page.locator("#title", has_text=OPENED.format("01")).wait_for()
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("x")
    wait_for_masks(page)
    page.keyboard.press("m")
    page.keyboard.press("t")
    page.locator("#curve-figure").wait_for()
    page.keyboard.press("d")
    page.keyboard.press("/")
    page.keyboard.type("11")
    page.locator("#list-foot", has_text="1 of 12 images").wait_for()
    saved(page)
    assert server.end() == 0
    assert [(row[0], row[4]) for row in rows(server)] == [("01.png", True), ("01.png", False)]


def test_ten_masks_are_reviewed_by_keyboard_and_exported_without_the_rejected(
    page: Any, server: Server, tmp_path: Path
) -> None:
    page.locator("#to-review").wait_for()
    page.keyboard.press("g")
    for number in range(10):
        page.wait_for_function(PLACE, arg=number + 1)
        page.keyboard.press("a" if number % 2 else "2")
    page.wait_for_function(PLACE, arg=11)
    page.locator("#title", has_text=OPENED.format("10")).wait_for()
    click(page, (80, 60))
    page.locator("#accept", has_text="Fixed, next").wait_for()
    page.keyboard.press("a")
    saved(page)
    assert server.end() == 0
    assert [row[:4] for row in rows(server)] == [("10.png", "thing", 80, 60)]
    assert exported(server, tmp_path) == len(GALLERY)
    assert exported(server, tmp_path, "--without-rejected") == len(GALLERY) - 6
    assert exported(server, tmp_path, "--accepted-only") == 5


def exported(server: Server, folder: Path, *options: str) -> int:
    assert main(["export", server.run.root, "--to", str(folder / "coco.json"), *options]) == 0
    return len(json.loads((folder / "coco.json").read_text())["annotations"])


def test_a_broken_image_says_so_and_the_next_one_works(page: Any, server: Server) -> None:
    (server.folder / "photos" / "03.png").write_bytes(b"torn")
    for _ in range(3):
        page.keyboard.press("PageDown")
        page.wait_for_timeout(100)
    page.locator("#broken", has_text="03.png: not an image").wait_for()
    page.keyboard.press("PageDown")
    page.locator("#title", has_text=OPENED.format("04")).wait_for()
    click(page, DISC)
    wait_for_masks(page)


def test_photos_on_s3_and_a_server_of_them_that_goes_silent(browser: Any, server: Server, s3: S3Server) -> None:
    photos = Store(f"{s3.bucket('page')}/photos/", Storage(endpoint_url=s3.endpoint_url))
    for path in sorted((server.folder / "photos").iterdir())[:6]:
        photos.put(path.name, path.read_bytes())
    assert server.end() == 0
    impatient = ["storage.give_up_s=8", "storage.request_timeout_s=3"]
    server.start(f"storage.endpoint_url={s3.endpoint_url}", *impatient, images=photos.root)
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(60_000)
    page.goto(server.address)
    page.locator("#title", has_text=OPENED.format("00")).wait_for()
    assert page.locator("#list [role=option]").count() == 6
    click(page, DISC)
    wait_for_masks(page)
    s3.freeze()
    try:
        click(page, (5, 5), button="right")
        saved(page)
        page.locator("#list [role=option]").nth(5).click()
        page.locator("#broken", has_text="05.png").wait_for()
        assert "object storage failed for 8 s" in page.locator("#broken-text").inner_text()
    finally:
        s3.thaw()
    page.locator("#broken-retry").click()
    page.locator("#title", has_text=OPENED.format("05")).wait_for()
    click(page, DISC)
    wait_for_masks(page)
    saved(page)
    page.close()
    assert server.end() == 0
    assert [row[:5] for row in rows(server)] == [
        ("00.png", "1", *DISC, True),
        ("00.png", "1", 5, 5, False),
        ("05.png", "1", *DISC, True),
    ]


@pytest.mark.parametrize("mode", ["click", "review", "keys"])
def test_axe_finds_nothing_serious(page: Any, mode: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install 'm2n2[test-ui]'")
    click(page, DISC)
    wait_for_masks(page)
    if mode == "review":
        page.locator("#to-review").wait_for()
        page.keyboard.press("g")
        page.locator("#queue [aria-selected=true]").wait_for()
    elif mode == "keys":
        page.keyboard.press("?")
    # The page's own policy lets no script in but its own: axe comes through the browser's debugger.
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text())
    found = page.evaluate("() => axe.run()")["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], [node["html"][:120] for node in each["nodes"][:3]]) for each in serious] == []
