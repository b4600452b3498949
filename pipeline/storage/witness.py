"""Who is to blame when a key fails: the key, or the store it is in.

A key that was read a moment ago is the witness. Asked again while another one fails, it tells a bad key (the witness
answers) from an outage (it does not). A key that was never there would not do: where what holds the bytes is away, a
store may still know very well what it does not have.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from pipeline.storage.retry import is_transient

EARLY_SHARE = 0.1  # of `Storage.give_up_s`, after which a key may be given up
# Answers of the witness in a row, so that a store that answers now and then is not taken for one that works.
ANSWERS_NEEDED = 3
ANSWERS_NEEDED_AT_LAST = 2

_last_read: dict[str, str] = {}


def remember(path: str) -> None:
    """Take a path that was just read as its place's witness."""
    _last_read[_place(path)] = path


class Trial:
    """One key that fails: call it after every failure, with the seconds that it has failed for."""

    def __init__(self, path: str, give_up_s: float, ask: Callable[[str], object]) -> None:
        """`ask` makes one request for a path, without retries."""
        self._path, self._give_up_s, self._ask = path, give_up_s, ask
        self._answers = 0

    def __call__(self, failing_s: float, last: bool) -> bool:
        """Whether the key alone is to blame; `last` asks for a verdict now."""
        witness = _last_read.get(_place(self._path))
        if witness is None or witness == self._path:
            # Better than nothing, and only at the end: does the place say that it has no such key?
            return last and self._answered(f"{_folder(self._path)}/.probe-{uuid.uuid4().hex}")
        if not last and failing_s < EARLY_SHARE * self._give_up_s:
            return False
        self._answers = self._answers + 1 if self._answered(witness) else 0
        return self._answers >= (ANSWERS_NEEDED_AT_LAST if last else ANSWERS_NEEDED)

    def _answered(self, path: str) -> bool:
        try:
            self._ask(path)
        except Exception as error:
            return not is_transient(error)
        return True


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _place(path: str) -> str:
    """The bucket, host or disk that fails or answers as a whole."""
    if "://" in path:
        return "/".join(path.split("/", 3)[:3])
    return "/" if path.startswith("/") else path.partition("/")[0]
