"""An append log: records that outlive the process, whenever it is killed.

A record is a line: the checksum of its JSON, and the JSON. It is on the disk when `append` returns, so what was
acknowledged is read again. A process that dies while it writes leaves at most one torn line at the end, which nobody
was told about; the next one cuts it off. A damaged line elsewhere is an error: it was acknowledged once.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.storage.atomic_file import replace_file

Record = Mapping[str, Any]


class LogInUse(ConnectionError):
    """Another process has the log; it may be free later."""


class DamagedLog(ValueError):
    """A line that was acknowledged cannot be read: the message names the file and the line."""


class AppendLog:
    """The log in a file, for one process and one thread at a time.

    Attributes:
        records: what was there when it was opened, in order.
    """

    def __init__(self, path: Path) -> None:
        """Open or begin the log.

        Raises:
            LogInUse: another process has it open.
            DamagedLog: a line before the last one does not match its checksum.
            OSError: the file cannot be written.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _locked(path)
        data = self._file.read()
        self.records, self._length = _read(data, path)
        if self._length < len(data):
            self._file.truncate(self._length)
        os.fsync(self._file.fileno())
        sync_folder(path.parent)

    def append(self, record: Record) -> None:
        """Write a record; on the disk when this returns. Raises OSError, and then it is not in the log."""
        line = _line(record)
        try:
            left = memoryview(line)
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(self._length)  # a full disk leaves half a line
            raise
        self._length += len(line)

    def rewrite(self, records: Sequence[Record]) -> None:
        """Replace all records by others, all at once or not at all."""
        replace_file(self.path, b"".join(map(_line, records)))
        sync_folder(self.path.parent)
        old, self._file = self._file, _locked(self.path)
        old.close()
        self._length = self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Let others have it."""
        self._file.close()


def sync_folder(folder: Path) -> None:
    """Bring the names of a folder's files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked(path: Path) -> Any:
    while True:
        file = open(path, "a+b", buffering=0)  # noqa: SIM115 -- stays open as long as the log
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise LogInUse(f"{path}: another m2n2 ui has these clicks open; end it, or use its page") from None
        try:
            replaced = os.fstat(file.fileno()).st_ino != path.stat().st_ino
        except FileNotFoundError:
            replaced = True
        if not replaced:
            file.seek(0)
            return file
        file.close()  # it was rewritten between opening and locking


def _line(record: Record) -> bytes:
    text = json.dumps(record, separators=(",", ":"), sort_keys=True).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read(data: bytes, path: Path) -> tuple[list[Record], int]:
    """The records, and how many bytes they take: less than all where the last line is torn."""
    records: list[Record] = []
    length = 0
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last line's end is torn, or nothing
        checksum, _, text = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(text):
            if number == len(lines) - 1 and not lines[-1]:
                break
            raise DamagedLog(
                f"{path}, line {number}: does not match its checksum; clicks in it may be lost. "
                "Move the file away to go on with what the Parquet file has"
            )
        records.append(json.loads(text))
        length += len(line) + 1
    return records, length
