"""Seconds by stage, added up over tasks and drivers."""

from __future__ import annotations

from pathlib import Path

from pipeline.driver.seeing.stages import plus_stages, read_stages, write_stages
from pipeline.storage.store import Store


def test_a_driver_goes_on_from_what_the_one_before_added_up(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert read_stages(store, "a") == {}
    write_stages(store, "a", plus_stages({"fetch": 1.0}, {"masks": 2.0, "fetch": 0.5}))
    found = read_stages(store, "a")
    assert list(found.items()) == [("fetch", 1.5), ("masks", 2.0)]
    assert read_stages(store, "another plan") == {}
