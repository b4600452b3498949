"""Who may talk to the page: this machine's browser on its own page, and whoever has the token.

Any page that a browser shows may send requests to 127.0.0.1. So a request must name this server as its host (a name
that was made to resolve to 127.0.0.1 is another host), and must come from this server's own page where the browser
says where it comes from. On any other address a token is needed, once in the address, then in a cookie.
"""

from __future__ import annotations

import hmac
from http.cookies import SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "m2n2-token"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Wraps the application; `token` is None where the server is bound to this machine only."""

    def __init__(self, app: ASGIApp, port: int, token: str | None) -> None:
        self._app, self._token = app, token
        self._hosts = {f"{host}:{port}" for host in LOOPBACK}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refused = self._refusal(scope)
        await (refused or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._token is None and host.lower() not in self._hosts:
            return _refused(f"host: found {host!r}; allowed: {', '.join(sorted(self._hosts))}")
        if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return _refused(f"origin: found {origin!r}; allowed: this page's own")
        opens_page = scope["method"] == "GET" and scope["path"] == "/"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not opens_page:
            return _refused("the request comes from another site's page")
        if scope["method"] not in ("GET", "HEAD") and headers.get("content-type") != "application/json":
            return _refused("content-type: allowed: application/json")
        return None if self._token is None else self._asked_for_token(scope, headers, self._token)

    def _asked_for_token(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        if cookie is not None and hmac.compare_digest(cookie.value.encode(), token.encode()):
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and hmac.compare_digest(given.encode(), token.encode()):
            welcome = RedirectResponse("/", status_code=303)  # so that the token is in no history and no log
            welcome.set_cookie(COOKIE, token, httponly=True, samesite="strict")
            return welcome
        return _refused("a token is needed: open the address that `m2n2 ui` printed", 401)


def _refused(why: str, status: int = 403) -> Response:
    return JSONResponse({"error": why}, status)
