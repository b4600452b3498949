"""One line on an error, without secrets: for logs, error rows, plans and everything else that people read."""

from __future__ import annotations

import re

# Also where the password has a slash or an @ in it; a port followed by a path is no password.
USER_INFO = re.compile(r"://(?:[^/\s@:]*:(?!\d+/)\S*|[^/\s]+)@")
SIGNATURE = re.compile(r"(?i)\b(X-Amz-[\w-]+|AWSAccessKeyId|Signature|sig|token|access_key|secret_key)=[^&\s\"']+")


def describe(error: BaseException) -> str:
    """One line on an error, without credentials that stood in an address."""
    text = " ".join(str(error).split()) or type(error).__name__
    return f"{type(error).__name__}: {without_credentials(text)[:500]}"


def without_credentials(text: str) -> str:
    """The text with `user:password@` and the values of signed addresses' parameters taken out of it."""
    return SIGNATURE.sub(r"\1=***", USER_INFO.sub("://***@", text))
