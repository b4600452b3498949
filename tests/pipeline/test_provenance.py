"""Every mask says where it comes from: in its part, and through the reader that all exports share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from m2n2 import __version__
from pipeline.attempts import all_attempts, plan_retry
from pipeline.config import Job, parse_job
from pipeline.export.labels import labels_of_run
from pipeline.frozen_parts import freeze_parts
from pipeline.parts import part_key
from pipeline.plan import find_or_make_plan
from pipeline.provenance import Provenance
from pipeline.storage.store import Store
from tests.pipeline.make_data import click_rows, parquet, put_dataset
from tests.pipeline.make_parts import make_parts


def job_of(root: Path, **changes: object) -> Job:
    return parse_job(put_dataset(Store(str(root)), images=2) | changes, "job")


class Origin(NamedTuple):
    """What a mask says: of what it is, and the digest of its clicks."""

    of: Provenance
    clicks: str | None


def provenances(job: Job) -> dict[tuple[str, str], Origin]:
    labels = labels_of_run(freeze_parts(job.output_store, all_attempts(job.output_store)))
    return {
        (row["image"], row["object"]): Origin(row["provenance"], row.get("clicks_digest"))
        for image in labels.images(["provenance", "clicks_digest"])
        for row in image.rows
    }


def labelled(root: Path, **changes: object) -> dict[tuple[str, str], Origin]:
    job = job_of(root, **changes)
    make_parts(job.output_store, find_or_make_plan(job))
    return provenances(job)


def test_a_mask_says_its_run_and_what_made_it(tmp_path: Path) -> None:
    found = labelled(tmp_path)
    plan = find_or_make_plan(job_of(tmp_path))
    assert len(found) == 4
    for each in found.values():
        assert (each.of.run, each.of.backbone, each.of.weights, each.of.version) == (
            plan.fingerprint,
            "colour",
            None,
            __version__,
        )
    assert len({each.clicks for each in found.values()}) == 2  # the same two sets of clicks on every image


def test_a_part_alone_says_it_too(tmp_path: Path) -> None:
    found = labelled(tmp_path)
    part = pq.read_table(job_of(tmp_path).output_store.url(part_key("", 0)).removeprefix("file://"))
    shared = json.loads(part.schema.metadata[b"provenance"])
    rows = part.select(["image", "object", "clicks_digest"]).to_pylist()
    for row in rows:
        assert found[row["image"], row["object"]] == (Provenance(**shared), row["clicks_digest"])


@pytest.mark.parametrize("change", [{"settings": {"temperature": 0.5}}, {"backbone": {"name": "colour", "grid": 8}}])
def test_other_settings_have_another_digest_and_the_same_clicks_the_same(tmp_path: Path, change: object) -> None:
    one, other = labelled(tmp_path / "one"), labelled(tmp_path / "other", **dict(change))  # type: ignore[call-overload]
    for key in one:
        assert one[key].of.settings != other[key].of.settings
        assert one[key].clicks == other[key].clicks


def test_a_click_that_moves_changes_the_digest_of_its_object_alone(tmp_path: Path) -> None:
    before = labelled(tmp_path / "one")
    rows = [row for number in range(2) for row in click_rows(f"{number:04d}.png")]
    rows[0] |= {"x": rows[0]["x"] + 1}
    moved = (rows[0]["image"], str(rows[0]["object"]))
    clicks = tmp_path / "moved.parquet"
    clicks.write_bytes(parquet(rows))
    after = labelled(tmp_path / "other", clicks=str(clicks))
    assert {key for key in before if before[key].clicks != after[key].clicks} == {moved}


def test_what_was_tried_again_is_of_its_own_attempt(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    plan = find_or_make_plan(job)
    make_parts(job.output_store, plan, failed={"0001.png"})
    again = plan_retry(freeze_parts(job.output_store, [plan]), lambda error: True, 2)
    assert again is not None
    make_parts(job.output_store, again)
    runs = {image: each.of.run for (image, _), each in provenances(job).items()}
    assert runs == {"0000.png": plan.fingerprint, "0001.png": again.fingerprint}
