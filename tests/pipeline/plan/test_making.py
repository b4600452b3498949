"""A job's plan: deterministic shards, and a fingerprint that names every difference."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from m2n2.confidence.built_in import BUILT_IN, BUILT_IN_OF, SCORE_VERSION
from m2n2.confidence.evidence import Evidence
from m2n2.head_version import HEAD_VERSION
from pipeline.inputs.identity import fingerprint_of, settings_fingerprint
from pipeline.plan import PlanMismatch, find_or_make_plan, read_shard, shard_size, write_plan
from pipeline.storage.store import Store
from pipeline.worker.planned_score import score_of
from tests.pipeline.make_data import click_rows, parquet
from tests.pipeline.plan.job_of import job_of


def test_an_image_never_spans_two_shards_and_all_objects_are_there(document: dict[str, Any]) -> None:
    job = job_of(document)
    plan = find_or_make_plan(job)
    shards = [read_shard(job.output_store, plan, shard.index) for shard in plan.shards]
    assert [[image.image for image in shard] for shard in shards] == [
        ["0000.png", "0001.png"],
        ["0002.png", "0003.png"],
        ["0004.png"],
    ]
    assert [shard.images for shard in plan.shards] == [2, 2, 1]
    assert plan.objects == sum(len(image.objects) for shard in shards for image in shard) == 10


def test_the_same_job_gives_the_same_bytes(document: dict[str, Any], tmp_path: Path) -> None:
    one = job_of(document, output=str(tmp_path / "one"))
    two = job_of(document, output=str(tmp_path / "two"))
    assert find_or_make_plan(one).shards == find_or_make_plan(two).shards
    assert find_or_make_plan(one).fingerprint == find_or_make_plan(two).fingerprint


def test_what_only_decides_speed_is_not_in_the_fingerprint(document: dict[str, Any]) -> None:
    plan = find_or_make_plan(job_of(document))
    faster = job_of(document, workers={"count": 7, "gpus": 0}, shard_images=100, limits={"image_timeout_s": 5})
    assert find_or_make_plan(faster) == plan


def test_the_parts_of_the_algorithm_that_are_left_out_are_in_the_fingerprint(document: dict[str, Any]) -> None:
    find_or_make_plan(job_of(document))
    for left_out in ({"map": "attention"}, {"flood_fill": False}, {"score": {"edge": False}}):
        with pytest.raises(PlanMismatch, match=f"settings.{next(iter(left_out))}: the plan has"):
            find_or_make_plan(job_of(document, settings=left_out))


def test_another_job_on_the_same_output_is_refused_with_every_difference(
    document: dict[str, Any], tmp_path: Path
) -> None:
    find_or_make_plan(job_of(document))
    Store(str(tmp_path)).put("clicks/c.parquet", parquet(click_rows("0000.png")))
    other = job_of(document, settings={"temperature": 0.5}, backbone={"name": "colour", "grid": 8})
    with pytest.raises(PlanMismatch) as caught:
        find_or_make_plan(other)
    text = str(caught.value)
    assert "settings.temperature: the plan has 0.65, the job has 0.5" in text
    assert "backbone.grid: the plan has 16, the job has 8" in text
    assert "c.parquet: the plan has None, the job has {'size'" in text
    assert text.count("the plan has") == 3


@pytest.mark.parametrize("key", ["../secret.png", "/etc/passwd", "s3://elsewhere/a.png"])
def test_an_image_outside_the_root_fails_unless_the_job_allows_it(
    document: dict[str, Any], tmp_path: Path, key: str
) -> None:
    Store(str(tmp_path)).put("outside.parquet", parquet(click_rows(key) + click_rows("0000.png")))
    strict = job_of(document, clicks=str(tmp_path / "outside.parquet"))
    objects = [
        each for image in read_shard(strict.output_store, find_or_make_plan(strict), 0) for each in image.objects
    ]
    assert {each.image: each.failure.reason if each.failure else None for each in objects} == {
        key: "image_outside_root",
        "0000.png": None,
    }
    lenient = job_of(document, clicks=strict.clicks, output=str(tmp_path / "lenient"), allow_images_outside_root=True)
    objects = [
        each for image in read_shard(lenient.output_store, find_or_make_plan(lenient), 0) for each in image.objects
    ]
    refused = {each.image for each in objects if each.failure}
    assert refused == {each for each in [key] if each.startswith("s3://")}, (
        "only the job's own protocols and hosts are reachable"
    )


def test_shards_are_about_a_minute_of_work(document: dict[str, Any]) -> None:
    job = job_of(document, shard_images="auto", workers={"count": 8, "gpus": 1})
    assert shard_size(job, 1_000_000) == 128
    assert shard_size(job, 1_000) == 32
    assert shard_size(job, 10) == 8
    assert shard_size(job_of(document), 1_000_000) == 2


def test_a_plan_of_another_version_of_the_masks_is_refused_in_one_line(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(document)
    plan = find_or_make_plan(job)
    assert plan.identity["head_version"] == HEAD_VERSION
    before = settings_fingerprint(job)
    monkeypatch.setattr("pipeline.inputs.identity.HEAD_VERSION", HEAD_VERSION + 1)
    with pytest.raises(PlanMismatch) as caught:
        find_or_make_plan(job)
    assert f"made for version {HEAD_VERSION} of the masks, this is version {HEAD_VERSION + 1}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert settings_fingerprint(job) != before  # so that a night begun by the old version is begun anew


def test_a_plan_of_scores_that_this_version_does_not_know_is_refused_in_one_line(
    document: dict[str, Any],
) -> None:
    identity = dict(find_or_make_plan(job_of(document)).identity) | {"score_version": SCORE_VERSION + 1}
    other = job_of(document, output=document["output"] + "2")
    write_plan(other.output_store, "", identity, [], [], 1)
    with pytest.raises(PlanMismatch) as caught:
        find_or_make_plan(other)
    assert f"made for version {SCORE_VERSION + 1} of scores, this m2n2 knows 1, 2, {SCORE_VERSION}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_that_was_begun_with_earlier_weights_of_scores_is_finished_with_them(document: dict[str, Any]) -> None:
    identity = dict(find_or_make_plan(job_of(document)).identity) | {"score_version": 2}
    other = job_of(document, output=document["output"] + "2")
    write_plan(other.output_store, "", identity, [], [], 1)
    middling = Evidence(0.5, 0.5, 0.5, 0.4, 0.5, 0.0, 2)
    score = score_of(find_or_make_plan(other))(middling)
    assert score == BUILT_IN_OF[2].estimate(middling) != BUILT_IN.estimate(middling)


def test_a_run_never_mixes_two_calibrations(document: dict[str, Any], tmp_path: Path) -> None:
    changed = replace(BUILT_IN, intercept=1.0).as_plain() | {"score_version": SCORE_VERSION}
    (tmp_path / "own.json").write_text(json.dumps(changed))
    own = job_of(document, calibration=str(tmp_path / "own.json"), output=document["output"] + "2")
    plan = find_or_make_plan(own)
    middling = Evidence(0.5, 0.5, 0.5, 0.4, 0.5, 0.0, 2)
    assert score_of(plan)(middling) == replace(BUILT_IN, intercept=1.0).estimate(middling)
    assert settings_fingerprint(own) != settings_fingerprint(job_of(document))
    with pytest.raises(PlanMismatch, match=r"calibration: the plan has .*, the job has None"):
        find_or_make_plan(job_of(document, output=own.output))
    (tmp_path / "own.json").write_text(json.dumps(changed | {"intercept": 2.0}))
    with pytest.raises(PlanMismatch, match=r"calibration.intercept: the plan has 1.0, the job has 2.0"):
        find_or_make_plan(own)


def test_a_run_that_was_begun_with_the_first_kind_of_score_is_finished_with_it(document: dict[str, Any]) -> None:
    job = job_of(document)
    identity = {key: value for key, value in find_or_make_plan(job).identity.items() if key != "score_version"}
    other = job_of(document, output=document["output"] + "2")
    sealed = write_plan(other.output_store, "", identity, [], [], 1)
    assert find_or_make_plan(other) == sealed
    assert score_of(sealed)(Evidence(0.25, 0.5, 0.5, 0.4, 0.5, 0.0, 2)) == 0.25


def test_a_plan_that_names_no_version_is_of_the_first(document: dict[str, Any]) -> None:
    job = job_of(document)
    added = ("head_version", "score_version", "calibration")
    identity = {key: value for key, value in find_or_make_plan(job).identity.items() if key not in added}
    other = job_of(document, output=document["output"] + "2")
    sealed = write_plan(other.output_store, "", identity, [], [], 1)
    if HEAD_VERSION == 1:
        assert find_or_make_plan(other) == sealed
        assert settings_fingerprint(job) == fingerprint_of({**identity, "clicks": {}})
    else:
        with pytest.raises(PlanMismatch, match="made for version 1"):
            find_or_make_plan(other)
