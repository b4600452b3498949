"""A calibration that a job names: read once, and what is wrong with it said in one line that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from m2n2.confidence.built_in import BUILT_IN, SCORE_VERSION
from pipeline.config import InvalidJob, load_job
from pipeline.inputs.calibration import read_calibration
from pipeline.storage.filesystem import Storage

GOOD: dict[str, Any] = {"score_version": SCORE_VERSION, **BUILT_IN.as_plain(), "fitted_on": {"objects": 3}}


def test_what_decides_scores_is_read_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text(json.dumps(GOOD))
    assert read_calibration(str(tmp_path / "own.json"), Storage()) == BUILT_IN.as_plain()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file; `m2n2 calibrate` writes one"),
        ("{", "not readable as JSON"),
        ("[]", f"score_version: found None, allowed: 2, {SCORE_VERSION}"),
        (json.dumps({**GOOD, "score_version": 1}), f"score_version: found 1, allowed: 2, {SCORE_VERSION}; fit it anew"),
        (json.dumps({**GOOD, "weights": {}}), "weights: found none; allowed: consensus"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_file(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "own.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidJob) as caught:
        read_calibration(str(path), Storage())
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_files_path_is_relative_to_the_job(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("{images: a, clicks: b, output: c, calibration: own.json}")
    assert load_job(tmp_path / "job.yaml").calibration == str(tmp_path / "own.json")
