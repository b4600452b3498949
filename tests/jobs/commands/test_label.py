"""`m2n2 label` as a user runs it: real photos, real models' code, a real S3 server.

The first test is a process that starts a Ray of its own, as on a machine without a cluster; the second is let into one
that runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pycocotools.coco import COCO

from jobs.cli import main
from jobs.demo_photos import CLICKS, photos
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from tests.faults.cluster import Cluster
from tests.pipeline.make_data import parquet
from tests.s3_server import S3Server, credentials

COLUMNS = ["image", "object", "category", "x", "y", "label"]


def put_photos(store: Store) -> dict[str, Any]:
    """The demo's photos and clicks below a store; returns the job document for them, without a backbone."""
    for name in sorted({click[0] for click in CLICKS}):
        store.put(f"photos/{name}", (photos() / name).read_bytes())
    rows = [dict(zip(COLUMNS, click, strict=True)) for click in CLICKS]
    store.put("clicks.parquet", parquet(rows))
    return {
        "images": store.url("photos/"),
        "clicks": store.url("clicks.parquet"),
        "output": store.url("labels/"),
        "workers": {"count": 1, "gpus": 0, "cpus": 1},
        "storage": {"endpoint_url": store.storage.endpoint_url},
        "shard_images": 2,
    }


def m2n2(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | credentials(), timeout=280
    )


def read_back(store: Store, tmp_path: Path) -> COCO:
    path = tmp_path / "instances.json"
    path.write_bytes(store.read("labels/export/coco/instances.json"))
    return COCO(str(path))


def test_real_photos_on_s3_with_a_pretrained_model(
    s3: S3Server, tmp_path: Path, dinov2_small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(s3.bucket("label-dinov2"), Storage(endpoint_url=s3.endpoint_url))
    job = tmp_path / "job.yaml"
    job.write_text(yaml.safe_dump(put_photos(store)))
    weights = f"backbone={{name: dinov2, grid: 24, weights: {dinov2_small}}}"
    ended = m2n2("label", str(job), weights, "report=true")
    assert ended.returncode == 0, ended.stderr
    assert "complete: 6 objects, 0 failed" in ended.stdout
    assert "worker ready" in ended.stderr
    coco = read_back(store, tmp_path)
    names = {image["id"]: image["file_name"] for image in coco.dataset["images"]}
    assert len(coco.anns) == 6
    assert store.read("labels/report/index.html").decode().count("data:image/jpeg") >= 2 * 6  # lowest and random
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation)
        name = names[annotation["image_id"]]
        for photo, object_name, _, x, y, on_object in CLICKS:
            if (photo, object_name) == (name, annotation["object"]):
                assert mask[y, x] == on_object
        assert 0.005 < mask.mean() < 0.9
    labels = [store.url("labels/"), "--endpoint-url", s3.endpoint_url]
    assert main(["status", *labels]) == 0
    assert "objects  6/6, 0 failed" in capsys.readouterr().out
    assert main(["export", *labels, "--to", str(tmp_path / "copy.json")]) == 0
    assert json.loads((tmp_path / "copy.json").read_text()) == coco.dataset


def test_stable_diffusions_code_on_a_tiny_random_model_and_nothing_to_do_afterwards(
    tmp_path: Path, tiny_sd2: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    job = tmp_path / "job.yaml"
    job.write_text(yaml.safe_dump(put_photos(store)))
    backbone = ("backbone.name=sd2", f"backbone.weights={tiny_sd2}", "backbone.grid=24")
    assert main(["label", str(job), *backbone, "--address", cluster.address]) == 0
    assert len(read_back(store, tmp_path).anns) == 6
    monkeypatch.setattr("jobs.cluster.connected", lambda *_: pytest.fail("what is done needs no Ray"))
    assert main(["label", str(job), *backbone]) == 0
