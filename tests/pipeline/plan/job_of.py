"""A job of a data set that was put."""

from __future__ import annotations

from typing import Any

from pipeline.config import Job, parse_job


def job_of(document: dict[str, Any], **changes: Any) -> Job:
    return parse_job({**document, **changes}, "job")
