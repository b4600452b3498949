"""Rows of tables that people write, CSV, TSV and JSON lines, as batches of text columns with their places."""

from __future__ import annotations

import csv
import io
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from pipeline.clicks import InvalidClicks
from pipeline.describe import describe
from pipeline.importing.objects import BadRecord, Source

BLOCK_BYTES = 4 << 20
HEADER_BYTES = 1 << 16
LINES_A_BATCH = 20_000
LONGEST_LINE_BYTES = 16 << 20
NUMBER = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"


@dataclass(frozen=True)
class TextRows:
    """Some rows of a table: columns of text, null where a cell is empty, and where each row stands."""

    columns: dict[str, pa.Array]
    place: Callable[[int], str]


def csv_rows(source: Source, separators: str) -> Iterator[TextRows | BadRecord]:
    """Rows of a table with a header, separated by one of `separators`; rows of another length are bad records.

    Raises:
        InvalidClicks: there is no header, or the text is not UTF-8.
    """
    separator, names = _header(source, separators)
    wrong: list[pacsv.InvalidRow] = []

    def note(row: pacsv.InvalidRow) -> str:
        wrong.append(row)
        return "skip"

    with source.store.open_seekable(source.address) as file:
        try:
            reader = pacsv.open_csv(
                file,
                read_options=pacsv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
                parse_options=pacsv.ParseOptions(
                    delimiter=separator, newlines_in_values=True, invalid_row_handler=note
                ),
                convert_options=pacsv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
                ),
            )
            first, told = 0, 0
            for batch in reader:
                columns = {name.strip().lstrip("\ufeff"): batch.column(i) for i, name in enumerate(batch.schema.names)}
                yield TextRows(columns, _placed(source.address, first, wrong))
                for row in wrong[told:]:
                    yield _wrong_length(source.address, row)
                told = len(wrong)
                first += batch.num_rows
            for row in wrong[told:]:
                yield _wrong_length(source.address, row)
        except pa.ArrowInvalid as error:
            raise InvalidClicks(f"{source.address}: not readable as a table: {describe(error)}") from error


def json_line_rows(source: Source) -> Iterator[TextRows | BadRecord]:
    """Rows of a file with a JSON object a line; empty lines are none. Lines that are no object are bad records."""
    waiting: list[dict[str, Any]] = []
    lines: list[int] = []
    with source.store.open_seekable(source.address) as file:
        number = 0
        while line := file.readline(LONGEST_LINE_BYTES):
            number += 1
            place = f"{source.address}, line {number}"
            if len(line) == LONGEST_LINE_BYTES:
                raise InvalidClicks(
                    f"{place}: found more than {LONGEST_LINE_BYTES} bytes; allowed: a JSON object a line"
                )
            if not line.strip():
                continue
            try:
                waiting.append({name: _cell(value) for name, value in _object_of(line).items()})
                lines.append(number)
            except (ValueError, RecursionError):
                yield BadRecord(place, "line", line.decode(errors="replace").strip(), "a JSON object in UTF-8")
            if len(waiting) == LINES_A_BATCH:
                yield _of_lines(source.address, waiting, lines)
                waiting, lines = [], []
    if waiting:
        yield _of_lines(source.address, waiting, lines)


def find_columns(
    source: Source, found: Sequence[str], names: dict[str, Sequence[str]], required: Sequence[str]
) -> dict[str, str]:
    """Which of a table's columns is which of ours: as `--map` says, else by the names that they usually have.

    Args:
        names: for each of our columns, its usual names in lower case.

    Raises:
        InvalidClicks: a required one is missing, or two may be meant.
    """
    listed = ", ".join(found)
    if unknown := [name for name in source.columns if name not in names]:
        raise InvalidClicks(f"--map {unknown[0]}=...: no such column of clicks; allowed: {', '.join(names)}")
    columns = {}
    for ours, usual in names.items():
        if wanted := source.columns.get(ours):
            if wanted not in found:
                raise InvalidClicks(f"{source.address}: --map {ours}={wanted}: found columns: {listed}")
            columns[ours] = wanted
            continue
        fitting = [name for name in found if name.strip().lower() in usual and name not in source.columns.values()]
        exact = [name for name in fitting if name == ours]
        if len(fitting) > 1 and not exact:
            raise InvalidClicks(
                f"{source.address}: column {ours}: found {' and '.join(fitting)}; say which: --map {ours}={fitting[0]}"
            )
        if fitting:
            columns[ours] = (exact or fitting)[0]
        elif ours in required:
            raise InvalidClicks(
                f"{source.address}: column {ours} is missing; found columns: {listed}; say which it is: "
                f"--map {ours}=COLUMN"
            )
    return columns


def _header(source: Source, separators: str) -> tuple[str, list[str]]:
    """The separator and the names of the columns, as the first line has them."""
    start = source.store.read_one_of_many(source.address, HEADER_BYTES)
    try:
        line = start.decode("utf-8-sig", errors="strict" if len(start) < HEADER_BYTES else "ignore")
    except UnicodeDecodeError as error:
        raise InvalidClicks(f"{source.address}: not UTF-8: {error}; allowed: UTF-8") from None
    line = next((each for each in line.splitlines() if each.strip()), "")
    separator = max(separators, key=line.count)
    names = next(csv.reader(io.StringIO(line), delimiter=separator), [])
    if not names:
        raise InvalidClicks(f"{source.address}: the file is empty; allowed: a header and a row a click")
    if any(re.match(NUMBER, name.strip()) for name in names):
        raise InvalidClicks(
            f"{source.address}: found {line[:80]!r} as the first line, which has numbers; allowed: a header that names "
            "the columns"
        )
    if repeated := [name for name in names if names.count(name) > 1]:
        raise InvalidClicks(f"{source.address}: found two columns {repeated[0]!r}; allowed: each name once")
    return separator, names


def _placed(address: str, first: int, wrong: Sequence[pacsv.InvalidRow]) -> Callable[[int], str]:
    """Names a row as spreadsheets count them: the header is row 1, rows of another length count, too."""
    rows_before = [row.number - 2 - position for position, row in enumerate(wrong)]
    return lambda index: f"{address}, row {first + index + 2 + bisect_right(rows_before, first + index)}"


def _wrong_length(address: str, row: pacsv.InvalidRow) -> BadRecord:
    return BadRecord(
        f"{address}, row {row.number}", "number of cells", row.actual_columns, f"{row.expected_columns}, as the header"
    )


def _object_of(line: bytes) -> dict[str, Any]:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError
    return found


def _cell(value: Any) -> str | None:
    """A value as the text that a cell of a table would have."""
    if value is None or value == "":
        return None
    found = value if isinstance(value, str) else json.dumps(value)
    found.encode()  # half a surrogate pair is no text
    return found


def _of_lines(address: str, rows: list[dict[str, Any]], lines: list[int]) -> TextRows:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in names}
    return TextRows(columns, lambda index: f"{address}, line {lines[index]}")
