"""`m2n2 clicks import`, as people call it, from object storage to object storage."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.cli import main
from pipeline.importing.import_clicks import FORMATS
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from tests.pipeline.importing.test_formats import SAMPLES
from tests.s3_server import S3Server


def test_both_sides_may_be_in_object_storage(s3: S3Server, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(s3.bucket("clicks-import"), Storage(endpoint_url=s3.endpoint_url))
    document = json.loads((SAMPLES / "boxes.json").read_text())
    document["annotations"][0]["bbox"] = [4, 6, -1, 5]
    store.put("there/boxes.json", json.dumps(document).encode())
    source, target = store.url("there/boxes.json"), store.url("here/c.parquet")
    command = ["clicks", "import", source, "--from", "coco-boxes", "--to", target, "--endpoint-url", s3.endpoint_url]
    assert main(command) == 2
    assert "annotations[0]: bbox: found [4.0, 6.0, 3.0, 11.0]; allowed: a box whose right" in capsys.readouterr().err
    assert list(store.listing("here/")) == []
    assert main([*command, "--skip-bad"]) == 3, "a third of the records is bad"
    assert capsys.readouterr().out == f"{target}: 18 clicks of 2 objects\n"
    assert pq.read_table(io.BytesIO(store.read("here/c.parquet"))).num_rows == 18
    (line,) = store.read("here/rejected.jsonl").decode().splitlines()
    assert json.loads(line)["field"] == "bbox"
    assert json.loads(line)["place"] == f"{source}, annotations[0]"


def test_usage_errors_and_the_page_name_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clicks", "import", "x", "--from", "excel", "--to", str(tmp_path / "c.parquet")]) == 2
    assert f"found 'excel'; allowed: {', '.join(FORMATS)}" in capsys.readouterr().err
    assert main(["clicks", "import", "x", "--from", "csv", "--to", "c.parquet", "--map", "x"]) == 2
    assert "found 'x'; allowed: OURS=THEIRS" in capsys.readouterr().err
    assert (
        main(["clicks", "import", str(tmp_path / "no.csv"), "--from", "csv", "--to", str(tmp_path / "c.parquet")]) == 2
    )
    assert "no.csv: there is no such file" in capsys.readouterr().err
    page = (Path(__file__).parents[4] / "docs" / "clicks.md").read_text()
    assert [name for name in FORMATS if f"`{name}`" not in page] == []
