"""The client for `http(s)://`: it never follows where it was not sent, by a redirect or by what a name leads to."""

from __future__ import annotations

import socket
from collections.abc import Collection
from typing import Any
from urllib.parse import urljoin, urlsplit

from pipeline.storage.reach import LinkLocal, is_link_local


class RedirectRefused(PermissionError):
    """A server sent a request on to another host, which `storage.redirects_to` does not name."""


async def http_client(redirects_to: Collection[str], **options: Any) -> Any:
    """An `aiohttp.ClientSession` that follows redirects to the host that was asked, and to these hosts."""
    import aiohttp

    async def remember(session: Any, request: Any, asked: Any) -> None:
        request.host = asked.url.host

    async def check(session: Any, request: Any, sent_on: Any) -> None:
        headers = sent_on.response.headers
        target = urljoin(str(sent_on.url), headers.get("Location") or headers.get("URI") or "")
        host = (urlsplit(target).hostname or "").rstrip(".")
        if host not in {request.host, *(each.lower() for each in redirects_to)}:
            raise RedirectRefused(
                f"{request.host} sends on to another host: found {host}; allowed: {request.host}, and hosts in "
                "storage.redirects_to"
            )

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(remember)
    trace.on_request_redirect.append(check)
    connector = aiohttp.TCPConnector(socket_factory=_socket_to)
    return aiohttp.ClientSession(connector=connector, trace_configs=[trace], **options)


def _socket_to(address: Any) -> socket.socket:
    """A socket for what a name led to, by redirects too: never to where clouds serve machines their credentials."""
    family, kind, protocol, _, place = address
    if is_link_local(str(place[0])):
        # No OSError: the library would take that for a connection that was refused, and try again.
        raise LinkLocal(f"{place[0]} is a link-local address")
    return socket.socket(family, kind, protocol)
