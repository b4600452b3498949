"""Masks in the order of their identifiers, however many: dealt out to files by identifier, sorted a file at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

MASKS_A_FILE = 50_000
MOST_FILES = 256  # that are open at once
ROWS_AT_ONCE = 10_000
IDS = ("image_id", "id")


class MasksInOrder:
    """Rows with `image_id` (from 1) and `id`, taken in any order and given back in the order of both."""

    def __init__(self, directory: Path, masks: int, images: int) -> None:
        """Keep them in `directory`; `masks`: about how many there are, `images`: the largest identifier of an image."""
        files = max(1, min(MOST_FILES, masks // MASKS_A_FILE))
        self._images_a_file = images // files + 1
        self._paths = [directory / f"masks-{number:03d}.arrow" for number in range(images // self._images_a_file + 1)]
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}

    def add(self, rows: pa.Table) -> None:
        """Take in some rows."""
        rows = rows.sort_by([(name, "ascending") for name in IDS]).combine_chunks()
        files = rows["image_id"].to_numpy() // self._images_a_file
        begins = np.searchsorted(files, np.unique(files))
        for begin, end in zip(begins, [*begins[1:], rows.num_rows], strict=True):
            self._writer(int(files[begin]), rows.schema).write_table(rows.slice(begin, end - begin))

    def close(self) -> None:
        """No more rows come; from now on they can be read, any number of times."""
        for writer in self._writers.values():
            writer.close()

    def rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The rows' identifiers and these columns."""
        wanted = list(dict.fromkeys([*columns, *IDS]))
        for number in sorted(self._writers):
            with pa.memory_map(str(self._paths[number])) as file, pa.ipc.open_stream(file) as stream:
                table = stream.read_all().select(wanted)
            table = table.sort_by([(name, "ascending") for name in IDS])
            for batch in table.to_batches(ROWS_AT_ONCE):
                yield from batch.to_pylist()

    def _writer(self, number: int, schema: pa.Schema) -> pa.ipc.RecordBatchStreamWriter:
        if number not in self._writers:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writers[number] = pa.ipc.new_stream(str(self._paths[number]), schema, options=options)
        return self._writers[number]
