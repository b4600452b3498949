"""An export in pieces: the bytes of one process, for every format that can; what cannot says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from jobs.cli import main
from pipeline.attempts import all_attempts, plan_retry
from pipeline.config import parse_job
from pipeline.export.format import Options
from pipeline.export.labels import labels_of_run
from pipeline.export.masks import Reading, Selection
from pipeline.export.one_pass import Exported, Writer, export_labels
from pipeline.export.pieces.piece import IN_PIECES, Whole, join_piece, make_piece
from pipeline.frozen_parts import FrozenParts, freeze_parts
from pipeline.parts import part_key
from pipeline.plan import find_or_make_plan
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store
from tests.faults.cluster import Cluster
from tests.pipeline.export.hard_masks import make_hard_run
from tests.pipeline.make_data import put_dataset
from tests.pipeline.make_parts import make_part, make_parts
from tests.s3_server import S3Server

FAILED = ("0000.png", "0005.png", "0006.png")  # the first image's masks are those of the second attempt


def frozen(output: Store) -> FrozenParts:
    return freeze_parts(output, all_attempts(output))


def retried_run(place: Store) -> Store:
    """Of five shards with two images, three of which got their masks in a second attempt, and one never."""
    job = parse_job(put_dataset(place, images=10), "job")
    output, plan = job.output_store, find_or_make_plan(job)
    make_parts(output, plan, FAILED)
    again = plan_retry(frozen(output), lambda error: True, 2)
    assert again is not None
    assert len(again.shards) == 2
    make_parts(output, again, FAILED[2:])
    return output


def export(output: Store, target: Path, one_by_one: bool, options: Options, selection: Selection) -> Exported:
    """In all formats that can, each shard a piece where it is `one_by_one`."""
    parts = frozen(output)
    labels = labels_of_run(parts)
    whole = Whole(parts, labels, IN_PIECES, options, selection)

    def fill(reading: Reading, writers: Sequence[Writer]) -> None:
        for shard in range(len(parts.attempts[0].plan.shards)):
            origins = tuple(reading.origins)
            join_piece(make_piece(whole, range(shard, shard + 1), origins), reading, writers)

    return export_labels(labels, IN_PIECES, Store(str(target)), options, selection, None, fill if one_by_one else None)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("options", "selection"),
    [
        (Options(), Selection()),
        (Options(rle="list", layout="annotations", images=Store("s3://bucket/photos/")), Selection(min_score=0.1)),
        (Options(), Selection(images=frozenset(["holes.png", "overlap.png", "nowhere.png"]))),
    ],
)
def test_every_mask_is_in_the_files_as_if_there_were_no_pieces(
    tmp_path: Path, options: Options, selection: Selection
) -> None:
    output, _ = make_hard_run(tmp_path)
    serial = export(output, tmp_path / "serial", False, options, selection)
    pieces = export(output, tmp_path / "pieces", True, options, selection)
    found = files_of(tmp_path / "serial")
    assert {name.partition("/")[0] for name in found} == set(IN_PIECES)
    assert files_of(tmp_path / "pieces") == found
    assert pieces.notes == serial.notes


def test_retried_masks_are_found_by_every_piece(tmp_path: Path) -> None:
    output = retried_run(Store(str(tmp_path)))
    export(output, tmp_path / "serial", False, Options(), Selection())
    export(output, tmp_path / "pieces", True, Options(), Selection())
    assert files_of(tmp_path / "pieces") == files_of(tmp_path / "serial")
    assert files_of(tmp_path / "serial")["coco/instances.json"].count(b'"origin":0') == 4, "of the second attempt"


def test_a_piece_that_was_begun_too_early_is_told_from_one_that_goes_on(tmp_path: Path) -> None:
    parts = frozen(retried_run(Store(str(tmp_path))))
    labels = labels_of_run(parts)
    whole = Whole(parts, labels, ["coco"], Options(), Selection())
    reading = Reading(labels, Selection())
    reading.join(make_piece(whole, range(1), ()).found)
    assert len(reading.origins) == 2
    assert not reading.is_continued_by(make_piece(whole, range(1, 2), ()).found), "it knows the first attempt only"
    assert reading.is_continued_by(make_piece(whole, range(1, 2), tuple(reading.origins)).found)


def test_a_run_without_masks_is_an_export_without_masks(tmp_path: Path) -> None:
    job = parse_job(put_dataset(Store(str(tmp_path)), images=4), "job")
    make_part(job.output_store, find_or_make_plan(job), 1, ["0002.png", "0003.png"])
    export(job.output_store, tmp_path / "serial", False, Options(), Selection())
    export(job.output_store, tmp_path / "pieces", True, Options(), Selection())
    assert files_of(tmp_path / "pieces") == files_of(tmp_path / "serial")


def test_ray_tasks_write_the_same_bytes(cluster: Cluster, s3: S3Server, tmp_path: Path) -> None:
    place = Store(s3.bucket("pieces"), Storage(endpoint_url=s3.endpoint_url))
    output = retried_run(place)
    command = ["export", output.root, "--endpoint-url", s3.endpoint_url, "--format", ",".join(IN_PIECES), "--to"]
    assert main([*command, str(tmp_path / "serial")]) == 0
    assert main([*command, str(tmp_path / "pieces"), "--workers", "2", "--address", cluster.address]) == 0
    found = files_of(tmp_path / "pieces")
    assert found == files_of(tmp_path / "serial")
    assert found["coco/instances.json"].count(b'"image_id"') == 18
    one = [*command[:4], "--to", str(tmp_path / "one.json"), "--workers", "3", "--address", cluster.address]
    assert main(one) == 0
    assert (tmp_path / "one.json").read_bytes() == found["coco/instances.json"]


def test_a_part_that_is_not_what_was_planned_is_the_same_error_in_a_task(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = retried_run(Store(str(tmp_path)))
    output.put(part_key("", 3), output.read(part_key("", 2))[:-9])
    command = ["export", output.root, "--to", str(tmp_path / "one.json")]
    assert main(command) == 2
    serial = capsys.readouterr().err
    assert "shard-00003.parquet: not readable as Parquet" in serial
    assert main([*command, "--workers", "2", "--address", cluster.address]) == 2
    assert capsys.readouterr().err == serial


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "coco,yolo-seg"], "found the format yolo-seg; allowed: coco, coco-results, coco-polygon"),
        (["--format", "png"], "found the format png"),
        (["--format", "coco-panoptic"], "found the format coco-panoptic"),
        (["--format", "hf"], "found the format hf"),
        (["--with-images", "--images", "photos"], "found --with-images; allowed: documents of one file"),
        (["--split-by", "folder"], "found --split-by; allowed: documents of one file"),
    ],
)
def test_what_cannot_be_written_in_pieces_is_said(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "labels")
    assert main(["export", output, "--to", str(tmp_path / "to"), "--workers", "2", *options]) == 2
    error = capsys.readouterr().err
    assert f"--workers: {message}" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "to").exists()
