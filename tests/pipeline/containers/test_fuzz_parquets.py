"""Damaged Parquet: each image is its bytes or has a reason; never another exception, a crash or much memory."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from pipeline.config import Limits
from pipeline.containers.parquets import Parquets
from pipeline.failure import BadImage
from pipeline.storage.store import Store
from pipeline.worker.images import fetch_image
from tests.pipeline.containers.make_parquets import parquet_of

DAMAGED = 300
NAMES = [f"{name}.jpg" for name in "abcdefgh"]
WRITERS = (
    {"compression": "none", "use_dictionary": False},
    {"compression": "snappy"},
    {"compression": "zstd", "data_page_version": "2.0"},
    {"compression": "gzip", "write_page_checksum": True, "data_page_size": 100},
)


def damaged(number: int) -> bytes:
    """One file, harmed where its pages, its footer's own length or its metadata are."""
    rng = random.Random(number)
    images = [(name, name.encode() * rng.randint(1, 90)) for name in NAMES]
    data = bytearray(parquet_of(images, 3, **WRITERS[number % len(WRITERS)]))
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    first, stop = rng.choice(
        [(4, footer), (footer, len(data) - 8), (footer, len(data) - 8), (len(data) - 8, len(data))]
    )
    at = rng.randrange(first, stop)
    harm = rng.choice(["cut", "flip", "zeros", "noise", "gone"])
    if harm == "cut":
        del data[at:]
    elif harm == "flip":
        for _ in range(rng.randint(1, 8)):
            data[min(at + rng.randrange(40), len(data) - 1)] ^= 1 << rng.randrange(8)
    elif harm == "zeros":
        data[at : min(at + 12, len(data))] = bytes(min(12, len(data) - at))
    elif harm == "noise":
        data[at : min(at + 6, len(data))] = rng.randbytes(min(6, len(data) - at))
    else:  # bytes that are missing, and all behind them lie elsewhere
        del data[at : at + rng.randint(1, 30)]
    return bytes(data)


def test_damaged_files_give_bytes_or_a_reason(tmp_path: Path) -> None:
    store, found = Store(str(tmp_path)), Counter[str]()
    for number in range(DAMAGED):
        (tmp_path / f"{number}.parquet").write_bytes(damaged(number))
        source = Parquets(store, store.url("*.parquet"), None)
        for name in NAMES:
            try:
                fetch_image(source, f"{number}.parquet/{name}", Limits())
                found["bytes"] += 1
            except BadImage as error:
                found[error.failure.reason] += 1
            except Exception as error:
                raise AssertionError(f"{number}.parquet: {type(error).__name__}: {error}") from error
    assert found["bytes"] > DAMAGED
    assert found["image_unreadable"] > DAMAGED
    assert set(found) <= {"bytes", "image_unreadable", "image_missing"}
