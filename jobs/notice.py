"""A word to a chat or a pager when something ended: one POST of JSON to a webhook, if there is one."""

from __future__ import annotations

import json
import logging
import os
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.error import URLError

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
