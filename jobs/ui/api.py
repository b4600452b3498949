"""What the page's requests are answered with: each asks pipeline/page, in a thread where it takes time."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from jobs.ui.tabs import Tabs
from pipeline.describe import describe
from pipeline.image_key import outside_root
from pipeline.page.page import Page
from pipeline.page.page_object import InvalidChange
from pipeline.page.scenes import Answer, NotReady

IMAGES_AT_ONCE = 200
STATUS_EVERY_S = 1.0

Body = dict[str, Any]


class ReadOnly(Exception):
    """The tab is not the one that writes."""


class Api:
    """One method a route, which gives the answer or its JSON; `about` is what the page says of itself."""

    def __init__(self, page: Page, about: Body) -> None:
        self._page, self._about, self._tabs = page, about, Tabs()

    async def about(self, _: Request) -> Body:
        """Names of files and folders, and which categories there are."""
        page = self._page
        known = {"categories": page.categories, "takes_others": page.takes_others}
        return self._about | known | {"reviews": page.review is not None}

    async def events(self, request: Request) -> Response:
        """Server-sent events for one tab: its role when that changes, and how things stand."""

        async def stream() -> AsyncIterator[str]:
            tab = self._tabs.join(request.query_params["tab"])
            try:
                yield "retry: 1000\n\n"
                while True:
                    try:
                        event = await asyncio.wait_for(tab.events.get(), STATUS_EVERY_S)
                    except TimeoutError:
                        event = {"type": "status", **self._status()}
                    yield f"data: {json.dumps(event)}\n\n"
            finally:
                self._tabs.leave(tab)

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def images(self, request: Request) -> Body:
        """A stretch of the list of images, with how far each is."""
        asked = request.query_params
        start, limit = int(asked.get("start", 0)), min(IMAGES_AT_ONCE, int(asked.get("limit", IMAGES_AT_ONCE)))
        search, show = asked.get("search", ""), asked.get("show", "all")
        found = await run_in_threadpool(self._page.list_images, start, limit, search, show)
        book = self._page.book
        rows = [
            {
                "image": name,
                "objects": len(book.objects(name)),
                "done": book.is_done(name),
                "doubtful": self._page.is_doubtful(name),
            }
            for name in found.names
        ]
        return {**vars(found), "names": rows}

    async def image(self, request: Request) -> Body:
        """An image's size and its objects."""
        image = _image(request.query_params)
        pixels = await run_in_threadpool(self._page.pictures.pixels, image)
        objects = [
            {"name": each.name, "category": each.category, "clicks": each.clicks, "box": each.box}
            for each in self._page.book.objects(image)
        ]
        height, width = pixels.shape[:2]
        return {"width": width, "height": height, "objects": objects, "done": self._page.book.is_done(image)}

    async def thumbnail(self, request: Request) -> Response:
        """A small JPEG."""
        data = await run_in_threadpool(self._page.pictures.thumbnail, _image(request.query_params))
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})

    async def photo(self, request: Request) -> Response:
        """The image as the browser shows it."""
        data = await run_in_threadpool(self._page.pictures.photo, _image(request.query_params))
        return Response(data, media_type="image/jpeg")

    async def look(self, request: Request) -> Body:
        """Make an image ready for clicks; ready when it is, or not when people look at another already."""
        body = await request.json()
        future = self._page.scenes.look_at(_image(body), body["ahead"])
        try:
            await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.cancelled():
                raise  # it is this request that has ended
            return {"ready": False}  # people look at another image already
        return {"ready": True}

    async def clicks(self, request: Request) -> Body:
        """Keep an image's objects as they are now."""
        body = await self._written(request)
        await run_in_threadpool(self._page.change, _image(body), body["objects"])
        return {"saved": True}

    async def done(self, request: Request) -> Body:
        """Somebody says that an image has all its clicks, or not yet."""
        body = await self._written(request)
        await run_in_threadpool(self._page.book.mark_done, _image(body), bool(body["done"]))
        return {"saved": True}

    async def mask(self, request: Request) -> Body:
        """An object's mask from its clicks, unless a newer question has come."""
        body = await request.json()
        try:
            clicks, box = body["clicks"], body.get("box")
            asked = self._page.ask(_image(body), body["object"], clicks, bool(body["exact"]), box and tuple(box))
        except NotReady:
            return {"not_ready": True}
        answer = await asyncio.wrap_future(asked)
        return {"newer": True} if answer is None else _mask(answer)

    async def markov_map(self, request: Request) -> Response:
        """A click's Markov-map, as PNG."""
        asked = request.query_params
        point = float(asked["x"]), float(asked["y"])
        data = await run_in_threadpool(self._page.scenes.markov_map, _image(asked), point)
        return Response(data, media_type="image/png")

    async def curve(self, request: Request) -> Body:
        """Thresholds of a click's map, and the score of each."""
        asked = request.query_params
        point = float(asked["x"]), float(asked["y"])
        thresholds, scores = await run_in_threadpool(self._page.scenes.threshold_curve, _image(asked), point)
        return {"thresholds": thresholds, "scores": scores}

    async def review(self, request: Request) -> Body:
        """A stretch of the masks to look at, the most doubtful first."""
        review = self._page.review
        if review is None or not review.done():
            return {"ready": False, "total": 0, "rows": []}
        desk = review.result()
        start, limit = (int(request.query_params[name]) for name in ("start", "limit"))
        rows = await run_in_threadpool(desk.rows, start, min(limit, IMAGES_AT_ONCE))
        return {"ready": True, "total": desk.total, "rows": rows}

    async def reviewed(self, request: Request) -> Body:
        """An image's masks that are under review."""
        desk = self._page.desk
        if desk is None:
            return {"objects": []}
        return {"objects": await run_in_threadpool(_reviewed, desk.objects(_image(request.query_params)))}

    async def decide(self, request: Request) -> Body:
        """Keep what somebody said of a mask."""
        body = await self._written(request)
        desk = self._page.desk
        if desk is None:
            raise InvalidChange("there is nothing under review yet")
        await run_in_threadpool(desk.decide, _image(body), body["object"], body["verdict"], body.get("reason"))
        return {"saved": True}

    async def write(self, request: Request) -> Body:
        """Write the files now, or make this tab the one that writes."""
        body = await request.json()
        if body.get("take_over"):
            self._tabs.take_over(body["tab"])
            return {"writes": True}
        await run_in_threadpool(self._page.book.save)
        if desk := self._page.desk:
            await run_in_threadpool(desk.send)
        return {"saved": True}

    async def retry(self, _: Request) -> Body:
        """Try again what failed: listing the images, writing the files."""
        self._page.retry()
        return {}

    async def _written(self, request: Request) -> Body:
        body: Body = await request.json()
        if self._tabs.writer not in (None, body["tab"]):
            raise ReadOnly("these clicks are open in another tab, which writes")
        return body

    def _status(self) -> Body:
        page, model, review = self._page, self._page.scenes.model, self._page.review
        listed = page.images.page(0, 0)
        failed = model.exception() if model.done() else None
        no_review = review.exception() if review is not None and review.done() else None
        return {
            "listed": listed.listed,
            "complete": listed.complete,
            "unsaved": page.book.unsaved,
            "problem": listed.problem or page.problem,
            "model": describe(failed) if failed else "ready" if model.done() else "loading",
            "review": describe(no_review) if no_review else "ready" if review and review.done() else "sorting",
        }


def _image(asked: Any) -> str:
    image = str(asked["image"])
    if problem := outside_root(image):
        raise InvalidChange(f"image {image!r}: {problem}")
    return image


def _mask(answer: Answer) -> Body:
    shown = {"score": answer.score, "thresholds": answer.thresholds, "exact": answer.exact, "cutout": None}
    if answer.cutout is not None:
        shown["cutout"] = _cutout(answer.cutout)
    return shown


def _cutout(cutout: Any) -> Body:
    return {**vars(cutout), "png": base64.b64encode(cutout.png).decode()}


def _reviewed(objects: Any) -> list[Body]:
    from pycocotools import mask as coco_mask

    from pipeline.page.pictures import cut_out

    found = []
    for each in objects:
        cutout = cut_out(coco_mask.decode(dict(each.rle)).astype(bool)) if each.rle else None
        found.append({"name": each.name, "clicks": each.clicks, "cutout": cutout and _cutout(cutout)})
    return found
