"""The Parquet file of clicks in the making, and beside it the records that were rejected."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.clicks import BOX, WRITTEN_WITH_BOXES, Box
from pipeline.importing.objects import BadRecord, Click, ImportedObject

ROWS_A_GROUP = 100_000
REJECTED = "rejected.jsonl"


class ClickFile:
    """Rows of clicks and rejected records, on this machine's disk until they are put where they belong."""

    def __init__(self, directory: Path) -> None:
        self.clicks, self.rejected = directory / "clicks.parquet", directory / REJECTED
        self._writer = pq.ParquetWriter(self.clicks, WRITTEN_WITH_BOXES, compression="zstd")
        self._rejected = self.rejected.open("w", encoding="utf-8")
        self._rows: dict[str, list[Any]] = {name: [] for name in WRITTEN_WITH_BOXES.names}

    def __enter__(self) -> ClickFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        self._rejected.close()

    def add(self, each: ImportedObject, clicks: Sequence[Click]) -> None:
        """Append an object."""
        box: Box | tuple[None, ...] = each.box or (None,) * len(BOX)
        for x, y, label in clicks:
            values = (each.image, each.object, x, y, label, each.category, *box)
            for column, value in zip(self._rows.values(), values, strict=True):
                column.append(value)
        if len(self._rows["x"]) >= ROWS_A_GROUP:
            self._flush()

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows in the columns of WRITTEN_WITH_BOXES."""
        self._flush()
        self._writer.write_batch(batch)

    def reject(self, bad: BadRecord) -> None:
        """Note a record that cannot become clicks."""
        line = {"place": bad.place, "field": bad.field, "found": bad.found, "allowed": bad.allowed}
        self._rejected.write(json.dumps(line) + "\n")

    def finish(self) -> None:
        """Everything is in the files."""
        self._flush()
        self._writer.close()
        self._rejected.flush()

    def _flush(self) -> None:
        if self._rows["x"]:
            self._writer.write_batch(pa.RecordBatch.from_pydict(self._rows, schema=WRITTEN_WITH_BOXES))
            for column in self._rows.values():
                column.clear()
