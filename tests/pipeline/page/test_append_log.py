"""The append log: what was acknowledged is there again, wherever the process was killed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.page.append_log import AppendLog, DamagedLog, LogInUse

RECORDS = st.lists(st.dictionaries(st.text(), st.integers() | st.text() | st.none(), max_size=3), max_size=6)


def records_in(path: Path) -> list[Any]:
    log = AppendLog(path)
    log.close()
    return list(log.records)


@given(records=RECORDS, torn=st.dictionaries(st.text(), st.text(), min_size=1), data=st.data())
@settings(max_examples=60, deadline=None)
@patch("os.fsync", lambda _: None)  # a hundred disks' worth of waiting
def test_killed_at_any_byte_of_a_write_nothing_acknowledged_is_lost(
    records: list[Any], torn: dict[str, str], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        log = AppendLog(path)
        for record in records:
            log.append(record)
        acknowledged = path.stat().st_size
        log.append(torn)
        log.close()
        whole = path.read_bytes()
        killed_at = data.draw(st.integers(acknowledged, len(whole)), label="killed at byte")
        path.write_bytes(whole[:killed_at])
        assert records_in(path) == (records if killed_at < len(whole) else [*records, torn])
        again = AppendLog(path)
        again.append({"after": 1})
        again.close()
        assert records_in(path)[-1] == {"after": 1}


def test_a_damaged_line_before_the_last_is_said_with_its_number(tmp_path: Path) -> None:
    log = AppendLog(tmp_path / "log")
    for number in range(3):
        log.append({"n": number})
    log.close()
    data = (tmp_path / "log").read_bytes()
    (tmp_path / "log").write_bytes(data.replace(b'{"n":1}', b'{"n":7}'))
    with pytest.raises(DamagedLog, match="log, line 2: does not match its checksum"):
        AppendLog(tmp_path / "log")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    log = AppendLog(tmp_path / "log")
    with pytest.raises(LogInUse, match="another m2n2 ui has these clicks open"):
        AppendLog(tmp_path / "log")
    log.rewrite([{"kept": True}])
    with pytest.raises(LogInUse):
        AppendLog(tmp_path / "log")
    log.close()
    assert records_in(tmp_path / "log") == [{"kept": True}]


def test_a_write_that_fails_leaves_no_half_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    log = AppendLog(tmp_path / "log")
    log.append({"n": 1})
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            log.append({"n": 2})
    log.append({"n": 3})
    log.close()
    assert records_in(tmp_path / "log") == [{"n": 1}, {"n": 3}]
