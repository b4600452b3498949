"""A word to a chat or a pager when something ended: one POST of JSON to a webhook, if there is one."""

from __future__ import annotations

import json
import logging
import os
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.error import URLError

from jobs.exit_codes import BAD_INPUT, INCOMPLETE, tell

WEBHOOK = "M2N2_WEBHOOK_URL"
TIMEOUT_S = 10.0

log = logging.getLogger("m2n2.notice")


def send_notice(message: Mapping[str, Any]) -> None:
    """POST `message` to the address in the environment variable M2N2_WEBHOOK_URL; nothing where it is not set.

    Its key `text` is what Slack, Mattermost and their like show. The address is a secret: it is never logged. A webhook
    that does not answer within `TIMEOUT_S` seconds costs the run nothing but a warning in the log.
    """
    url = os.environ.get(WEBHOOK)
    if not url:
        return
    if not url.startswith(("http://", "https://")):
        log.warning("notice not sent: %s is not an http:// or https:// address", WEBHOOK)
        return
    body = json.dumps(message).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        log.warning("notice not sent: the webhook of %s failed: %s", WEBHOOK, reason)


@contextmanager
def notice_of_errors(command: str) -> Iterator[None]:
    """Send a notice of whatever error ends the block, with the line that the terminal shows; the error goes on.

    How a command ends that goes through, it says itself. So every ending is told once.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        code, text = INCOMPLETE, type(error).__name__
        if isinstance(error, Exception):
            code, text = tell(error) or (INCOMPLETE, f"{text}: {error}")
        send_notice({"text": f"m2n2 {command}: {text}", "outcome": _outcome(error, code), "exit_code": code})
        raise


def _outcome(error: BaseException, code: int) -> str:
    kinds = {"LeaseHeld": "lease_held", "LeaseLost": "lease_lost", "KeyboardInterrupt": "interrupted"}
    return kinds.get(type(error).__name__, "bad_input" if code == BAD_INPUT else "error")
