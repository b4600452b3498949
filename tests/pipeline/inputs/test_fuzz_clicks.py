"""Damaged click files: each is InvalidClicks naming the file, or its rows are accounted for; nothing else escapes."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.clicks import InvalidClicks
from pipeline.config import parse_job
from pipeline.failure import REASONS
from pipeline.inputs.click_files import find_click_files
from pipeline.inputs.click_table import ClickTable
from pipeline.plan import planned_images
from pipeline.storage.store import Store

DAMAGED = 300
ROWS = 40


def sound_columns() -> dict[str, pa.Array]:
    return {
        "image": pa.array([f"{n // 4:02d}.png" for n in range(ROWS)]),
        "object": pa.array([f"o{n // 2 % 2}" for n in range(ROWS)]),
        "x": pa.array([float(n) for n in range(ROWS)]),
        "y": pa.array([float(n) for n in range(ROWS)]),
        "label": pa.array([n % 2 == 0 for n in range(ROWS)]),
        "category": pa.array(["cat"] * ROWS),
    }


def not_utf8() -> pa.Array:
    """Text as a careless writer leaves it."""
    return pa.array([b"\xff\xfe%d" % n for n in range(ROWS)]).view(pa.string())


def odd_columns() -> list[tuple[str, pa.Array]]:
    """Every column in types that it does not have, and in its own types with values at their edges."""
    numbers, texts = pa.array(range(ROWS)), pa.array([str(n) for n in range(ROWS)])
    values = [
        *(
            numbers.cast(kind)
            for kind in (pa.int8(), pa.uint64(), pa.float32(), pa.decimal128(22, 3), pa.timestamp("us"))
        ),
        pa.array(np.arange(ROWS, dtype=np.float16)),
        *(texts.dictionary_encode(), texts.cast(pa.large_string()), texts.cast(pa.binary())),
        pa.array([[n] for n in range(ROWS)]),
        pa.array([{"a": n} for n in range(ROWS)]),
        pa.nulls(ROWS),
        pa.array([None, *range(1, ROWS)]),
        pa.array([None, *texts.to_pylist()[1:]]),
        not_utf8(),
        pa.array(["./0", "x//", "/photos/1", "FILE:///photos/2", ".", "/", *texts.to_pylist()[6:]]),
        pa.array(["", "a\0b", "🐈" * 2000, "//[", "..", "a::b", *texts.to_pylist()[6:]]),
        pa.array([2**64 - 1 - n for n in range(ROWS)], pa.uint64()),
        pa.array([float("nan"), float("inf"), -1e308, 5e-324, *map(float, range(4, ROWS))]),
        pa.array([n / ROWS for n in range(ROWS)]),
        pa.array([7] * ROWS),
    ]
    return [(name, value) for name in sound_columns() for value in values]


def damaged_files(numbers: Iterable[int], directory: Path) -> Iterator[Path]:
    """Columns swapped for odd ones, dropped or doubled; and files with bytes cut, flipped or zeroed."""
    odd = odd_columns()
    for number in numbers:
        rng = random.Random(number)
        columns = list(sound_columns().items())
        if number < len(odd):
            name, values = odd[number]
            columns = [(each, values if each == name else sound) for each, sound in columns]
        path = directory / f"{number:03d}.parquet"
        table = pa.table([values for _, values in columns], names=[name for name, _ in columns])
        pq.write_table(
            table, path, compression=rng.choice(["none", "snappy", "zstd"]), row_group_size=rng.choice([7, 99])
        )
        if number >= len(odd):
            path.write_bytes(damaged(path.read_bytes(), rng))
        yield path


def damaged(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        # Half of the damage goes to the footer, which says where everything is.
        at = rng.randrange(len(changed)) if rng.random() < 0.5 else max(0, len(changed) - 1 - rng.randrange(700))
        harm = rng.choice(["cut", "flip", "flip", "zeros", "ones"])
        if harm == "cut":
            del changed[max(1, at) :]
        elif harm == "flip":
            changed[at] ^= 1 << rng.randrange(8)
        else:
            run = changed[at : at + rng.randint(1, 16)]
            changed[at : at + len(run)] = (b"\0" if harm == "zeros" else b"\xff") * len(run)
    return bytes(changed)


def clicks_of(path: Path) -> Counter[str]:
    """Clicks by what becomes of their object, as planning does it. Raises InvalidClicks."""
    store = Store("")
    job = parse_job({"images": "/photos", "clicks": str(path), "output": "/labels"}, "test")
    with ClickTable(find_click_files([str(path)], store), store, job.images_roots) as table:
        found: Counter[str] = Counter()
        for image in planned_images(job, table):
            for each in image.objects:
                found[each.failure.reason if each.failure else "sound"] += len(each.clicks)
        return found


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)])  # every third, of all kinds of damage
def test_damaged_click_files_are_refused_by_name_or_accounted_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, step: int
) -> None:
    refused, wrong = 0, []
    for path in damaged_files(range(0, DAMAGED, step), tmp_path):
        try:
            found = clicks_of(path)
        except InvalidClicks as error:
            refused += 1
            if path.name not in str(error):
                wrong.append(f"does not name {path.name}: {error}")
        except Exception as error:
            wrong.append(f"{path.name}: {type(error).__module__}.{type(error).__name__}: {error}")
        else:
            rows = pq.ParquetFile(path).metadata.num_rows
            said = re.search(r"(\d+) clicks stand there twice", caplog.text)
            caplog.clear()
            if found.total() + (int(said[1]) if said else 0) != rows or not found.keys() <= {"sound", *REASONS}:
                wrong.append(f"{path.name}: {rows} rows, {found}")
    assert not wrong, "\n".join(wrong)
    assert 50 / step < refused < (DAMAGED - 20) / step, "all or none refused: the damage tests nothing"


def test_a_file_that_is_not_parquet_is_refused_by_name(tmp_path: Path) -> None:
    for content in (
        b"",
        b"PAR1",
        b"image,object,x,y\n",
        bytes(100_000),
        b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1",
    ):
        path = tmp_path / "clicks.parquet"
        path.write_bytes(content)
        with pytest.raises(InvalidClicks, match=r"clicks\.parquet"):
            clicks_of(path)


def test_one_damaged_file_among_sound_ones_is_the_one_named(tmp_path: Path) -> None:
    for number in range(3):
        pq.write_table(pa.table(sound_columns()), tmp_path / f"{number}.parquet")
    whole = (tmp_path / "1.parquet").read_bytes()
    (tmp_path / "1.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidClicks, match=r"1\.parquet"):
        clicks_of(tmp_path / "*.parquet")


def test_odd_values_stay_with_their_object(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"image": "a.png", "object": "sound", "x": 1.0, "y": 1.0},
        {"image": "a.png", "object": "nan", "x": float("nan"), "y": 1.0},
        {"image": "//[", "object": "bracket", "x": 1.0, "y": 1.0},
        {"image": "../a.png", "object": "climbs", "x": 1.0, "y": 1.0},
    ]
    path = tmp_path / "clicks.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert clicks_of(path) == Counter({"sound": 1, "bad_coordinate": 1, "image_outside_root": 2})
