"""The report as one HTML page that needs nothing but a browser, and that asks for nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.containers.source import ImageSource
from pipeline.review.queue import REASONS
from pipeline.review.report.contact_sheets import Sheet
from pipeline.review.report.figures import Figure
from pipeline.review.run_facts import RunFacts
from pipeline.review.source import Source

OPENED_BY_BROWSERS = ("http", "https", "file")
CHANGES = ("new", "changed", "retried", "restored", "removed", "unchanged", "given_up", "compared", "resized")


def render(
    source: Source,
    facts: RunFacts,
    images: ImageSource | None,
    totals: Mapping[str, Any],
    reasons: Mapping[str, int],
    figures: Sequence[Figure],
    masks: Sequence[Sheet],
    failures: Sequence[Sheet],
) -> str:
    """The page. All that users bring (names of images, objects and categories, messages) is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "percent": _percent, "seconds": _seconds, "pretty": _pretty}
    return environment.get_template("page.html").render(
        address=source.store.url(""),
        missing=source.labels.missing,
        totals=totals,
        reasons={reason: reasons.get(reason, 0) for reason in REASONS},
        figures=[(each.title, Markup(each.svg) if each.svg else None, each.note) for each in figures],
        masks=masks,
        failures=failures,
        link=lambda image: _link(images, image),
        outcome=facts.ending.get("outcome"),
        message=facts.ending.get("message"),
        seconds=facts.ending.get("seconds"),
        when=_when(facts.ending),
        diff={each: facts.diff[each] for each in CHANGES if each in facts.diff},
        mean_iou=facts.diff.get("mean_iou"),
        night=source.night.url("") if source.night else None,
        provenance=_provenance(source, facts),
        identity=facts.identity,
    )


def _provenance(source: Source, facts: RunFacts) -> dict[str, str]:
    """What stands in the table at the foot, by its name; what is not known is left out."""
    identity, ending = facts.identity, facts.ending
    backbone = identity.get("backbone", {})
    found = {
        "labels": source.store.url(""),
        "run": facts.store.url(""),
        "images": facts.images,
        "backbone": ", ".join(f"{value}" for value in (backbone.get("name"), backbone.get("dtype")) if value),
        "grid": backbone.get("grid"),
        "weights": identity.get("weights"),
        "head version": identity.get("head_version"),
        "fingerprint": source.labels.fingerprint,
        "digest of the parts": source.labels.parts_digest,
        "attempts": len(facts.attempts) or None,
        "host of the driver": ending.get("host"),
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def _when(ending: Mapping[str, Any]) -> str | None:
    if "began" not in ending:
        return None
    began, ended = (datetime.fromisoformat(ending[key]) for key in ("began", "ended"))
    return f"{began:%Y-%m-%d %H:%M} to {ended:%Y-%m-%d %H:%M} {ended.tzname()}"


def _link(images: ImageSource | None, image: str) -> str | None:
    """An address that a browser opens, or None: object stores have none that everybody may see."""
    if images is None:
        return None
    address = images.url(image)
    if address.startswith("/"):
        address = f"file://{quote(address)}"
    return address if urlsplit(address).scheme in OPENED_BY_BROWSERS else None


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _percent(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "0%"


def _seconds(value: float) -> str:
    minutes, left = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {left:02d} s" if minutes else f"{left} s"


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
