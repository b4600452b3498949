"""`m2n2 export` finds the images of a run as its job named them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from jobs.cli import main
from pipeline.config import load_job
from pipeline.driver.run import run
from pipeline.plan import find_or_make_plan
from pipeline.storage.store import Store
from tests.pipeline.make_data import put_dataset
from tests.pipeline.make_parts import make_parts


def test_images_of_a_job_with_relative_paths_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `m2n2 init` writes them."""
    document = put_dataset(Store(str(tmp_path / "data")), images=2)
    relative = {key: str(Path(document[key]).relative_to(tmp_path)) for key in ("images", "clicks", "output")}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document | relative))
    monkeypatch.chdir("/")
    job = load_job(tmp_path / "job.yaml", [])
    plan = find_or_make_plan(job)
    make_parts(job.output_store, plan)
    command = ["export", job.output, "--to", str(tmp_path / "to"), "--with-images"]
    assert main(command) == 2
    assert "does not say where its images are; give their folder or address with --images" in capsys.readouterr().err
    run(job, plan=plan)
    assert main(command) == 0
    photo = Path(job.images) / "0001.png"
    assert (tmp_path / "to" / "coco" / "images" / "0001.png").read_bytes() == photo.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--format", "coco", "--parquet"], "hf"),
        (["--format", "coco-polygon,hf", "--rle", "list"], "coco"),
        (["--format", "png", "--split-by", "folder"], "coco, coco-polygon"),
        (["--format", "coco-panoptic", "--layout", "annotations"], "coco, coco-polygon"),
    ],
)
def test_an_option_that_no_chosen_format_has_is_refused(
    arguments: list[str], allowed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is read before: the output need not even be there."""
    assert main(["export", str(tmp_path / "output"), "--to", str(tmp_path / "to"), *arguments]) == 2
    assert f"allowed with: {allowed}" in " ".join(capsys.readouterr().err.split())
