"""A file appears whole or not at all, also when the disk is full or the process is killed half way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pipeline.storage import atomic_file
from pipeline.storage.atomic_file import create_file, is_temporary, replace_file

BYTES = 1 << 20
WRITE_FOR_EVER = f"""
import itertools, sys
from pathlib import Path
from pipeline.storage.atomic_file import create_file, replace_file
print("ready", flush=True)
for turn in itertools.count():
    replace_file(Path(sys.argv[1]) / "replaced", bytes([turn % 256]) * {BYTES})
    create_file(Path(sys.argv[1]) / f"created-{{turn}}", bytes([turn % 256]) * {BYTES})
"""


def test_a_file_is_created_once_and_replaced_often(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    assert create_file(path, b"first")
    assert not create_file(path, b"second")
    assert path.read_bytes() == b"first"
    replace_file(path, b"third")
    assert path.read_bytes() == b"third"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("write", [create_file, replace_file, partial(replace_file, synced=False)])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, bytes], object]
) -> None:
    def disk_full(path: Path, data: bytes, synced: bool) -> None:
        path.write_bytes(data[:3])
        raise OSError(28, "No space left on device")

    (tmp_path / "old").write_bytes(b"old")
    monkeypatch.setattr(atomic_file, "_write", disk_full)
    for name in ("old", "new"):
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path / name, b"123456")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"old": b"old"}


def test_of_many_threads_one_creates(tmp_path: Path) -> None:
    created: list[int] = []

    def create(number: int) -> None:
        if create_file(tmp_path / "one", bytes([number]) * 10_000):
            created.append(number)

    threads = [threading.Thread(target=create, args=[number]) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(created) == 1
    assert (tmp_path / "one").read_bytes() == bytes(created) * 10_000


@pytest.mark.parametrize("seed", range(5))
def test_a_killed_process_leaves_only_whole_files(tmp_path: Path, seed: int) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    time.sleep(0.05 + 0.037 * seed)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    published = [path for path in tmp_path.iterdir() if not is_temporary(path.name)]
    assert published
    for path in published:
        data = path.read_bytes()
        assert data == data[:1] * BYTES
