"""What decides the masks of a job: the identity that a plan is sealed with, and that a later job is held against."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from m2n2.backbones import BUILT_IN
from m2n2.confidence.built_in import SCORE_VERSION
from m2n2.head_version import HEAD_VERSION
from pipeline.config import Job
from pipeline.inputs.calibration import read_calibration
from pipeline.inputs.categories import Category, categories_in_plan
from pipeline.storage.store import Entry, Store
from pipeline.weights.node_cache import weights_digest

SCHEMA_VERSION = 1
LONGEST_SHOWN = 300  # characters of a value that differs
# Keys that earlier versions did not write into a plan's identity, with the value that they stood for.
ADDED_LATER: dict[str, Any] = {"head_version": 1, "score_version": 1, "calibration": None}


def make_identity(job: Job, files: Sequence[Entry], categories: Sequence[Category] = ()) -> dict[str, Any]:
    """Everything that decides the masks, as JSON values, and the categories that the job gives identifiers.

    What only decides speed is not in it.
    """
    backbone = job.backbone.model_dump(include={"name", "dtype", "grid", "options"})
    identity = {
        "schema_version": SCHEMA_VERSION,
        "head_version": HEAD_VERSION,
        "score_version": SCORE_VERSION,
        "calibration": read_calibration(job.calibration, job.storage) if job.calibration else None,
        "clicks": {file.key: {"size": file.size, "etag": _content(job, file)} for file in files},
        # As the file has it, like every version before: a plan, and a library's settings, stay what they were.
        "images": job.as_written.get("images", job.images).rstrip("/"),
        "orientation": job.orientation,
        "allow_images_outside_root": job.allow_images_outside_root,
        "max_image_bytes": job.limits.max_image_bytes,
        "max_image_pixels": job.limits.max_image_pixels,
        "backbone": backbone,
        "weights": _weights_digest(job),
        "settings": job.settings.identity(),
    }
    normalised: dict[str, Any] = json.loads(json.dumps(identity | categories_in_plan(categories)))
    return normalised


def settings_fingerprint(job: Job) -> str:
    """What decides the masks of a job besides clicks and images; stays what it was in earlier versions.

    The version of scores is not in it: a library keeps its masks, with the scores that they have.
    """
    identity = make_identity(job, []) | {"score_version": ADDED_LATER["score_version"]}
    as_before = {key for key, value in ADDED_LATER.items() if identity[key] == value}
    return fingerprint_of({key: value for key, value in identity.items() if key not in as_before})


def fingerprint_of(identity: Mapping[str, Any]) -> str:
    """sha256 of the identity in canonical JSON."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def differences(planned: Any, wanted: Any, key: str = "") -> Iterator[str]:
    """Every key in which a plan's identity and a job's differ, a line each."""
    if not key:
        planned = ADDED_LATER | dict(planned)
    if isinstance(planned, Mapping) and isinstance(wanted, Mapping):
        for name in sorted(planned.keys() | wanted.keys()):
            yield from differences(planned.get(name), wanted.get(name), f"{key}.{name}" if key else name)
    elif planned != wanted:
        yield f"{key}: the plan has {_shown(planned)}, the job has {_shown(wanted)}"


def _weights_digest(job: Job) -> str | None:
    """What identifies the weights; nothing is loaded or copied."""
    backbone = job.backbone
    if backbone.name not in BUILT_IN:
        return backbone.sha256 or backbone.weights
    weights = backbone.weights or BUILT_IN[backbone.name][1]
    if weights is None or backbone.sha256:
        return backbone.sha256
    return weights_digest(weights, job.storage)


def _content(job: Job, file: Entry) -> str:
    """What identifies a click file's content: the store's ETag, or for a file on disk its sha256."""
    if not file.key.startswith("file://"):
        return file.etag
    digest = hashlib.sha256()
    with Store("", job.storage).open_seekable(file.key) as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
