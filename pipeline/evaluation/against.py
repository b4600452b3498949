"""An evaluation compared with an earlier one of the same objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from m2n2.evaluation import Comparison, compare_paired
from m2n2.evaluation.measures import TARGETS
from pipeline.evaluation.truths import InvalidTruth


def compare_objects(
    before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]
) -> dict[str, tuple[float, Comparison]]:
    """For each measure its mean before and what changed (now minus before).

    Args:
        before, now: rows of `pipeline.evaluation.results.read_objects`. An object that did not reach a target counts
            with the smaller cap of the two.

    Raises:
        InvalidTruth: the objects are not the same.
    """
    first, second = ({(row["image"], row["object"]): row for row in rows} for rows in (before, now))
    if first.keys() != second.keys():
        alone = sorted(first.keys() ^ second.keys())[0]
        raise InvalidTruth(f"the evaluations have different objects: only one has {alone[1]!r} of {alone[0]}")
    cap = min(max(len(row["iou"]) for row in rows) for rows in (before, now))
    compared = {}
    for name in _measures(before[0], now[0]):
        old, new = ([_value(rows[key], name, cap) for key in first] for rows in (first, second))
        compared[name] = (sum(old) / len(old), compare_paired(old, new))
    return compared


def comparison_text(compared: Mapping[str, tuple[float, Comparison]]) -> str:
    """A line a measure."""
    lines = []
    for name, (mean, found) in compared.items():
        interval = f"95% {found.low:+.3f}..{found.high:+.3f}"
        lines.append(
            f"{name:10} {mean:7.3f} -> {mean + found.difference:7.3f}  {found.difference:+.3f}  {interval}  "
            f"p {found.p_value:.4f}"
        )
    return "\n".join(lines)


def _measures(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    clicks = [f"clicks{target * 100:.0f}" for target in TARGETS]
    return [*clicks, *(name for name in now if name.startswith("iou") and name != "iou" and name in before), "drops"]


def _value(row: Mapping[str, Any], name: str, cap: int) -> float:
    value = row[name]
    if name.startswith("clicks"):
        return float(cap if value is None else min(value, cap))
    return float(value)
