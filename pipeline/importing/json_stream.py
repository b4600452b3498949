"""JSON documents that are larger than memory: an item of a list after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ijson

from pipeline.clicks import InvalidClicks
from pipeline.describe import describe
from pipeline.importing.objects import Source

BUFFER_BYTES = 1 << 20


def items(source: Source, path: str) -> Iterator[Any]:
    """The values at a path of ijson's, such as `annotations.item`. Raises InvalidClicks where it is no JSON."""
    return _parsed(source, path, ijson.items)


def pairs(source: Source, path: str) -> Iterator[tuple[str, Any]]:
    """Keys and values of the object at a path. Raises InvalidClicks where it is no JSON."""
    return _parsed(source, path, ijson.kvitems)


def opening(source: Source) -> str:
    """How the document begins: `[`, `{`, or what stands there instead."""
    start = source.store.read_one_of_many(source.address, BUFFER_BYTES)
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1].decode(errors="replace")


def _parsed(source: Source, path: str, parse: Callable[..., Iterator[Any]]) -> Iterator[Any]:
    read = 0
    with source.store.open_seekable(source.address) as file:
        if file.peek(3)[:3] == b"\xef\xbb\xbf":
            file.seek(3)
        try:
            for value in parse(file, path, buf_size=BUFFER_BYTES, use_float=True):
                yield value
                read += 1
        except (ijson.JSONError, UnicodeDecodeError, ValueError, OverflowError) as error:
            raise InvalidClicks(
                f"{source.address}: not readable as JSON after {read} items of {path}: {describe(error)}"
            ) from error
