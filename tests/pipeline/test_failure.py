from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.failure import REASONS, Failure

TABLE_ROW = re.compile(r"^\| (`.*?`) \| ([a-z, ]+) \| (yes|no) \|", re.MULTILINE)


def documented() -> dict[str, tuple[str, bool]]:
    """The reasons in docs/running.md, with the stages of their line and whether they are retryable."""
    text = (Path(__file__).parents[2] / "docs" / "running.md").read_text()
    return {
        reason: (stages, retryable == "yes")
        for reasons, stages, retryable in TABLE_ROW.findall(text)
        for reason in re.findall(r"`(\w+)`", reasons)
    }


def test_every_reason_is_documented_as_it_is() -> None:
    found = documented()
    assert found.keys() == REASONS.keys()
    for reason, (stage, retryable) in REASONS.items():
        assert stage in found[reason][0].split(", "), reason
        assert found[reason][1] == retryable, reason


def test_a_reason_that_nobody_declared_is_a_defect() -> None:
    with pytest.raises(ValueError, match="unknown reason 'bad_luck'; allowed: bad_coordinate, "):
        Failure("bad_luck", "message")
    assert Failure("image_missing", "message").retryable
    assert Failure("image_missing", "message").stage == "fetch"
