"""The page's HTTP interface: its routes, who may ask, and errors told in the answer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from jobs.ui.api import Api, Body, ReadOnly
from jobs.ui.guard import Guard
from m2n2.errors import InvalidPrompt
from pipeline.describe import describe
from pipeline.failure import BadImage
from pipeline.page.page import Page
from pipeline.page.page_object import InvalidChange
from pipeline.page.scenes import NotReady
from pipeline.storage.retry import StoreUnavailable

STATIC = Path(__file__).with_name("static")

log = logging.getLogger("m2n2.ui")

STATUS_OF: tuple[tuple[type[BaseException], int], ...] = (
    (NotReady, 409),
    (ReadOnly, 423),
    (BadImage, 422),
    (InvalidChange, 400),
    (InvalidPrompt, 400),
    (KeyError, 400),
    (StoreUnavailable, 503),
    (OSError, 507),
)


def make_app(page: Page, about: Body, port: int, token: str | None = None) -> Starlette:
    """The application for one page; `about` is what the page says of itself: names of files and folders."""
    api = Api(page, about)
    routes = [
        Route("/", _index),
        Route("/api/about", _answered(api.about)),
        Route("/api/events", api.events),
        Route("/api/images", _answered(api.images)),
        Route("/api/image", _answered(api.image)),
        Route("/api/thumbnail", _answered(api.thumbnail)),
        Route("/api/photo", _answered(api.photo)),
        Route("/api/look", _answered(api.look), methods=["POST"]),
        Route("/api/clicks", _answered(api.clicks), methods=["POST"]),
        Route("/api/done", _answered(api.done), methods=["POST"]),
        Route("/api/mask", _answered(api.mask), methods=["POST"]),
        Route("/api/map", _answered(api.markov_map)),
        Route("/api/curve", _answered(api.curve)),
        Route("/api/review", _answered(api.review)),
        Route("/api/reviewed", _answered(api.reviewed)),
        Route("/api/decide", _answered(api.decide), methods=["POST"]),
        Route("/api/write", _answered(api.write), methods=["POST"]),
        Route("/api/retry", _answered(api.retry), methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, port=port, token=token)])


async def _index(_: Request) -> Response:
    return FileResponse(STATIC / "index.html")


def _answered(route: Callable[[Request], Awaitable[Response | Body]]) -> Callable[[Request], Awaitable[Response]]:
    """A route whose errors are told in the answer, where one looks."""

    async def answer(request: Request) -> Response:
        try:
            found = await route(request)
        except Exception as error:
            status = next((status for kind, status in STATUS_OF if isinstance(error, kind)), 500)
            if status == 500:
                log.exception("%s %s", request.method, request.url.path)
            text = error.failure.message if isinstance(error, BadImage) else describe(error)
            return JSONResponse({"error": text, "kind": type(error).__name__}, status)
        return found if isinstance(found, Response) else JSONResponse(found)

    return answer
