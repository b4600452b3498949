"""Where a mask comes from: the run, what made it, and the clicks that it was made of.

What is the same for all masks of a part stands in the part's file once, in its metadata; the digest of an object's
clicks stands in the object's row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from m2n2 import __version__
from pipeline.clicks import ObjectClicks
from pipeline.inputs.identity import ADDED_LATER, fingerprint_of
from pipeline.plan import PlanHead

KEY = "provenance"
CLICKS_DIGITS = 16
# Of a plan's identity, what decides masks and scores whatever the images and the clicks are.
SETTINGS = ("head_version", "score_version", "calibration", "orientation", "backbone", "settings")


@dataclass(frozen=True)
class Provenance:
    """Where masks come from; which clicks one was made of, its row says, see `clicks_digest`.

    Attributes:
        run: fingerprint of the plan of its run: clicks, images, settings, backbone and weights together.
        backbone: name of the backbone.
        weights: sha256 of its weights; None for a backbone without weights.
        settings: sha256 of the settings and of the backbone's options, as they stand in the plan.
        version: of the code that made the mask; None in parts of version 0.1, which do not say.
    """

    run: str
    backbone: str
    weights: str | None
    settings: str
    version: str | None = None


def clicks_digest(clicks: ObjectClicks) -> str:
    """Of the object's clicks in their order, as they were planned: x, y and label, and of its box where it has one."""
    values: list[Any] = [[click["x"], click["y"], click["label"]] for click in clicks.clicks]
    values += [] if clicks.box is None else [list(clicks.box)]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:CLICKS_DIGITS]


def planned_provenance(plan: PlanHead) -> Provenance:
    """What a plan says of the masks that are made for it."""
    identity = ADDED_LATER | dict(plan.identity)
    settings = fingerprint_of({key: identity.get(key) for key in SETTINGS})
    return Provenance(plan.fingerprint, identity["backbone"]["name"], identity["weights"], settings)


def part_metadata(plan: PlanHead) -> dict[str, str]:
    """What stands in the metadata of a part that this code writes."""
    return {KEY: json.dumps(asdict(replace(planned_provenance(plan), version=__version__)))}


def read_provenance(metadata: Mapping[bytes, bytes] | None, plan: Callable[[], PlanHead]) -> Provenance:
    """Of a part's metadata; what an older part does not say, its plan does, which is asked for only then."""
    written = (metadata or {}).get(KEY.encode())
    return Provenance(**json.loads(written)) if written else planned_provenance(plan())
