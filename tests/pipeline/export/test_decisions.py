"""What people said of masks: the newest holds, of this very mask, and exports can be told to listen."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.cli import main
from pipeline.export.decisions import FOLDER, Decision, Verdict, mask_digest, read_decisions, write_decisions
from pipeline.storage.parquet import DamagedObject
from pipeline.storage.store import Store
from tests.pipeline.make_data import parquet
from tests.pipeline.review.gallery import Drawn, draw_run

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def said(name: str, verdict: Verdict, mask: str | None = "m", minutes: int = 0) -> Decision:
    return Decision("a.png", name, mask, verdict, None, NOON + timedelta(minutes=minutes))


def test_the_newest_decision_about_a_mask_holds(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write_decisions(store, [said("1", "accept", minutes=5), said("2", "reject")])
    write_decisions(store, [said("1", "reject", minutes=1), said("2", "undecided", minutes=1), said("3", "accept")])
    found = read_decisions(store)
    assert [(each and each.verdict) for each in (found.about("a.png", name, "m") for name in "1234")] == [
        "accept",
        None,
        "accept",
        None,
    ]
    assert found.about("a.png", "1", "another mask") is None
    assert found.about("a.png", "1", None) is None


def test_files_of_decisions_are_created_once(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert write_decisions(store, [said("1", "accept")]) == write_decisions(store, [said("1", "accept")])
    write_decisions(store, [said("1", "reject")])
    assert len(list(store.listing(FOLDER))) == 2


def test_a_file_that_is_none_of_decisions_is_named(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.put("review/decisions-1.parquet", parquet([{"image": "a"}]))
    with pytest.raises(DamagedObject, match=r"decisions-1\.parquet: column object is missing; found columns: image"):
        read_decisions(store)
    row = dict.fromkeys(("image", "object", "mask", "reason", "decided")) | {"verdict": "maybe"}
    store.put("review/decisions-1.parquet", parquet(pa.Table.from_pylist([row])))
    with pytest.raises(DamagedObject, match="row 0: verdict: found 'maybe'; allowed: accept, reject, undecided"):
        read_decisions(store)


def test_exports_leave_out_what_was_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery = {("a.png", name): Drawn((place, 5, place + 10, 20)) for place, name in enumerate(["good", "bad", "new"])}
    output = draw_run(Store(str(tmp_path)), gallery).output_store
    to = tmp_path / "all.json"

    def exported(*options: str) -> set[str]:
        assert main(["export", output.root, "--to", str(to), *options]) == 0
        return {each["attributes"]["object"] for each in json.loads(to.read_text())["annotations"]}

    assert exported() == {"good", "bad", "new"}
    masks = {each["attributes"]["object"]: each["segmentation"] for each in json.loads(to.read_text())["annotations"]}
    verdicts: dict[str, Verdict] = {"good": "accept", "bad": "reject"}
    write_decisions(output, [said(name, verdict, mask_digest(masks[name])) for name, verdict in verdicts.items()])
    assert exported() == {"good", "bad", "new"}
    assert exported("--without-rejected") == {"good", "new"}
    assert "1 masks were rejected" in capsys.readouterr().err
    assert exported("--accepted-only") == {"good"}
    err = capsys.readouterr().err
    assert "1 masks were not accepted by anybody, as they are now" in err
    write_decisions(output, [said("new", "reject", "of a mask that was made anew since")])
    assert exported("--without-rejected") == {"good", "new"}
