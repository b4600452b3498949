"""Clicks that are plausible but probably not what was meant: refused where that is certain, else said with numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import duckdb

from pipeline.clicks import InvalidClicks

FRACTIONS_WORTH_A_WARNING = 0.01  # of a file's clicks
EXAMPLES = 3


def doubts_about(database: duckdb.DuckDBPyConnection, files: Sequence[str]) -> list[str]:
    """A line for each doubt about the table `clicks`, whose column `file` is an index into `files`.

    Raises:
        InvalidClicks: all clicks of a file are fractions of the image's size.
    """
    return [*_fractions(database, files), *_several_spellings(database), *_categories_alike(database)]


def _fractions(database: duckdb.DuckDBPyConnection, files: Sequence[str]) -> Iterator[str]:
    """Coordinates within 0..1, of which at least one is no integer: nobody clicks in one corner pixel only."""
    rows = database.execute(
        """SELECT file, count(*), count(*) FILTER (within),
                  count(*) FILTER (within AND (x <> floor(x) OR y <> floor(y)))
           FROM (SELECT file, x, y, x BETWEEN 0 AND 1 AND y BETWEEN 0 AND 1 AS within
                 FROM (SELECT file, coalesce(x, box_x1) AS x, coalesce(y, box_y1) AS y FROM clicks)
                 WHERE isfinite(x) AND isfinite(y))
           GROUP BY file ORDER BY file"""
    ).fetchall()
    for file, clicks, within, fractions in rows:
        if within == clicks and fractions:
            raise InvalidClicks(
                f"{files[file]}: columns x, y: all {clicks} clicks lie within 0..1, as fractions of the image's width "
                "and height do; allowed: pixels"
            )
        if within == clicks > 1 or fractions > FRACTIONS_WORTH_A_WARNING * clicks:
            yield f"{files[file]}: columns x, y: {within} of {clicks} clicks lie within 0..1; pixels are meant"


def _several_spellings(database: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Images that click files name in more than one way, and objects that only are one since their image is."""
    if not database.execute("SELECT count(spelling) FROM clicks").fetchall()[0][0]:
        return
    counts = {}
    for what, columns in (("images", "image"), ("objects", "image, object")):
        (counts[what], example), *_ = database.execute(
            f"""SELECT count(*), min([first, last]) FROM (
                    SELECT min(coalesce(spelling, image)) AS first, max(coalesce(spelling, image)) AS last
                    FROM clicks GROUP BY {columns} HAVING first <> last)"""
        ).fetchall()
        if what == "images" and example:
            names = " and ".join(repr(name) for name in example)
    if counts["images"]:
        joined = f"; the clicks of {counts['objects']} objects were joined" if counts["objects"] else ""
        yield f"{counts['images']} images are named in more than one way, such as {names}: each is one image{joined}"


def _categories_alike(database: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Categories that differ in capitals, spaces, `-` and `_` only."""
    alike: dict[str, list[str]] = {}
    for name, clicks in database.execute(
        "SELECT category, count(*) FROM clicks GROUP BY category ORDER BY 1"
    ).fetchall():
        alike.setdefault(re.sub(r"[\s_-]+", " ", name).strip().casefold(), []).append(f"{name!r} ({clicks} clicks)")
    groups = [" and ".join(names) for names in alike.values() if len(names) > 1]
    if groups:
        more = f", and {len(groups) - EXAMPLES} more groups" if len(groups) > EXAMPLES else ""
        yield f"categories that look like one but count as several: {'; '.join(groups[:EXAMPLES])}{more}"
