"""How a run ended: what was counted against its plan, and what that means for whoever started it."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pipeline.acceptance import accept_failures, accepted_failures
from pipeline.config import Job
from pipeline.driver.doubts import read_doubts, warnings, why_doubtful
from pipeline.export.format import Options
from pipeline.export.labels import labels_of_run
from pipeline.export.one_pass import export_labels
from pipeline.frozen_parts import FrozenParts
from pipeline.manifests.count import count_objects
from pipeline.manifests.manifest import write_manifests
from pipeline.storage.store import Store

Outcome = Literal["complete", "too_many_failed", "complete_in_doubt", "aborted", "stopped_in_doubt", "stopped"]
EXIT_CODES: dict[Outcome, int] = {
    "complete": 0,
    "too_many_failed": 3,
    "complete_in_doubt": 3,
    "aborted": 1,
    "stopped_in_doubt": 3,
    "stopped": 1,
}

log = logging.getLogger("m2n2.run")


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `failed` counts objects by reason; `exports` are addresses."""

    outcome: Outcome
    message: str
    objects: int
    failed: dict[str, int]
    seconds: float
    exports: Sequence[str]

    @property
    def exit_code(self) -> int:
        """0 complete, 1 incomplete, 3 a person is needed: too many failed, or the input is doubtful."""
        return EXIT_CODES[self.outcome]


def end_run(
    job: Job, parts: FrozenParts, problem: str | None, accept: bool, began: datetime, seconds: float
) -> RunResult:
    """Count what there is against the plan, export a complete run, and leave `run.json`.

    Args:
        parts: of all attempts.
        problem: why the run was aborted, None where it was not.
        accept: record that the objects that failed may stay without a mask.

    Raises:
        ForeignPart, PlanDamaged: a part does not account for exactly its shard's objects.
    """
    if problem is None:
        write_manifests(parts)
    counted = count_objects(parts, against_plan=problem is None)
    objects, failed = counted.objects, counted.failed
    exports: list[str] = []
    if problem is None and not parts.missing:
        exports = _export(job, parts)
        if accept and failed:
            accept_failures(job.output_store, sum(failed.values()), objects)
    outcome, message = _outcome(job, parts, problem, objects, failed)
    result = RunResult(outcome, message, objects, failed, seconds, exports)
    _write_run_json(job, parts, result, began)
    return result


def _export(job: Job, parts: FrozenParts) -> list[str]:
    """Write the job's formats below `export/`; returns their addresses."""
    target = Store(job.output_store.url("export"), job.storage)
    exported = export_labels(labels_of_run(parts), job.export, target, Options(images=job.image_store))
    for note in exported.notes:
        log.warning("export: %s", note)
    return list(exported.addresses)


def _outcome(
    job: Job, parts: FrozenParts, problem: str | None, objects: int, failed: dict[str, int]
) -> tuple[Outcome, str]:
    doubts = read_doubts(job.output_store, parts.attempts[0].plan.fingerprint)
    doubtful = why_doubtful(doubts, job)
    for warning in warnings(doubts, job):
        log.warning("%s", warning)
    if problem is not None:
        return ("stopped_in_doubt" if problem == doubtful else "aborted"), problem
    if missing := parts.missing:
        planned = sum(len(attempt.plan.shards) for attempt in parts.attempts)
        return "stopped", f"{len(missing)} of {planned} shards are not done; start the same job again to go on"
    number, allowed = sum(failed.values()), job.limits.max_failed_share
    if number <= allowed * objects:
        return ("complete_in_doubt", doubtful) if doubtful else ("complete", "")
    if number <= accepted_failures(job.output_store):
        accepted = f"{number} of {objects} objects failed, which was accepted (accepted/)"
        return ("complete_in_doubt", doubtful) if doubtful else ("complete", accepted)
    return "too_many_failed", (
        f"{number / objects:.1%} of {objects} objects failed; allowed: {allowed:.1%} (limits.max_failed_share). "
        "--retry-failed tries again what may pass, --accept-failures records that they may stay so"
    )


def _write_run_json(job: Job, parts: FrozenParts, result: RunResult, began: datetime) -> None:
    plan = parts.attempts[0].plan
    document = {
        "outcome": result.outcome,
        "exit_code": result.exit_code,
        "message": result.message,
        "began": began.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(result.seconds, 1),
        "objects": result.objects,
        "planned_objects": plan.objects,
        "failed": result.failed,
        "exports": list(result.exports),
        "fingerprint": plan.fingerprint,
        "parts": parts.digest,
        "host": platform.node(),
        "job": job.model_dump(mode="json"),
    }
    job.output_store.put("run.json", json.dumps(document, indent=1).encode())
