"""Damaged tars: each member is its bytes or has a reason; never another exception, an endless loop or much memory."""

from __future__ import annotations

import random
import tarfile
from collections import Counter
from pathlib import Path

from pipeline.config import Limits
from pipeline.containers.tars import Tars
from pipeline.failure import BadImage
from pipeline.storage.store import Store
from pipeline.worker.images import fetch_image
from tests.pipeline.containers.make_tars import tar_of

DAMAGED = 300
NAMES = ["a.jpg", "b/" + "long" * 60 + ".jpg", "c.jpg", "é.jpg"]
FORMATS = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)


def damaged(number: int) -> bytes:
    rng = random.Random(number)
    tar_format = FORMATS[number % 3]
    names = [name for name in NAMES if tar_format != tarfile.USTAR_FORMAT or len(name) < 100]
    data = bytearray(tar_of({name: name.encode() * 40 for name in names}, tar_format))
    at = rng.randrange(0, 5000) // 512 * 512 + rng.randrange(512)
    harm = rng.choice(["cut", "flip", "zeros", "numbers", "kind"])
    if harm == "cut":
        del data[at:]
    elif harm == "flip":
        for _ in range(rng.randint(1, 8)):
            data[min(at + rng.randrange(64), len(data) - 1)] ^= 1 << rng.randrange(8)
    elif harm == "zeros":
        data[at : at + 200] = bytes(200)
    else:  # a header with a right checksum that says something wrong
        header = at // 512 * 512
        if harm == "numbers":
            sizes = [b"\x80" + b"\0" * 6 + b"\x7f" * 5, b"\xff" * 11 + bytes([rng.randrange(256)]), b"77777777777\0"]
            data[header + 124 : header + 136] = rng.choice(sizes)
        else:
            data[header + 156] = rng.choice(b"xgLKSD1257V")
        data[header + 148 : header + 156] = b" " * 8
        data[header + 148 : header + 156] = b"%06o\0 " % sum(data[header : header + 512])
    return bytes(data)


def test_damaged_tars_give_bytes_or_a_reason(tmp_path: Path) -> None:
    store, found = Store(str(tmp_path)), Counter[str]()
    for number in range(DAMAGED):
        (tmp_path / f"{number}.tar").write_bytes(damaged(number))
        tars = Tars(store, store.url("*.tar"), None)
        for name in NAMES:
            try:
                fetch_image(tars, f"{number}.tar/{name}", Limits())
                found["bytes"] += 1
            except BadImage as error:
                found[error.failure.reason] += 1
            except Exception as error:
                raise AssertionError(f"{number}.tar: {type(error).__name__}: {error}") from error
    assert found["bytes"] > DAMAGED
    assert found["image_unreadable"] > DAMAGED // 4
    assert set(found) <= {"bytes", "image_unreadable", "image_missing"}
