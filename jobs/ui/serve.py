"""From a bound socket to a page that answers, until somebody ends it."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.config import InvalidJob

if TYPE_CHECKING:
    from pipeline.page.page import Page

MISSING = "the page needs Starlette and uvicorn: pip install 'm2n2[ui]'"


def check_installed() -> None:
    """Raise InvalidJob where the extra `ui` is not installed."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InvalidJob(f"{MISSING} ({error})") from None


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises InvalidJob where the address is none of this machine's, or is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # whoever follows the address that is said next waits for the server, and is not refused
    except OSError as error:
        listening.close()
        found = f"--host {host} --port {port}: {error.strerror or error}"
        raise InvalidJob(f"{found}; allowed: an address of this machine and a free port, 0 for any") from None
    return listening


def serve(page: Page, about: dict[str, Any], listening: socket.socket, say: Callable[[str], None]) -> None:
    """Answer until the process is told to end; `say` gets the page's address."""
    import uvicorn

    from jobs.ui.app import make_app

    host, port = listening.getsockname()[:2]
    token = None if ipaddress.ip_address(host).is_loopback else secrets.token_urlsafe(24)
    shown = f"[{host}]" if ":" in host else host
    app = make_app(page, about, port, token)
    config = uvicorn.Config(app, log_level="warning", lifespan="off", access_log=False, timeout_graceful_shutdown=2)
    say(f"http://{shown}:{port}/" + (f"?token={token}" if token else ""))
    uvicorn.Server(config).run(sockets=[listening])
