"""What the field reports of many sessions: NoC, failures, IoU after so many clicks, drops, seconds a click."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from m2n2.evaluation.session import Session

TARGETS = (0.85, 0.90, 0.95)
CLICKS_SHOWN = (1, 2, 3, 5, 10, 20)
DROP = 0.02


@dataclass(frozen=True)
class Summary:
    """Means over objects.

    Attributes:
        objects: how many.
        cap: clicks an object at most.
        noc: for each target IoU, mean clicks until it was reached; the cap where it never was.
        failures: for each target IoU, objects that never reached it.
        iou: mean IoU after so many clicks.
        drops: added clicks (all but an object's first) after which the IoU fell by more than 0.02.
        added_clicks: all added clicks.
        seconds_a_click: mean time of a click.
    """

    objects: int
    cap: int
    noc: Mapping[float, float]
    failures: Mapping[float, int]
    iou: Mapping[int, float]
    drops: int
    added_clicks: int
    seconds_a_click: float


def clicks_to_reach(ious: Sequence[float], target: float, cap: int) -> int | None:
    """Number of the first click after which the IoU is at least the target; None where none is within the cap."""
    return next((number for number, iou in enumerate(ious[:cap], 1) if iou >= target), None)


def iou_after(ious: Sequence[float], clicks: int) -> float:
    """IoU after so many clicks; a session that ended before stays at its last mask, which was the truth."""
    return ious[min(clicks, len(ious)) - 1]


def drops(ious: Sequence[float]) -> int:
    """How many clicks made the mask worse by more than 0.02 of IoU."""
    return sum(later < earlier - DROP for earlier, later in pairwise(ious))


def summarise(sessions: Sequence[Session], cap: int) -> Summary:
    """Means over objects. Raises ValueError where there are none."""
    if not sessions:
        raise ValueError("there is no session to summarise")
    reached = {target: [clicks_to_reach(each.ious, target, cap) for each in sessions] for target in TARGETS}
    return Summary(
        objects=len(sessions),
        cap=cap,
        noc={target: float(np.mean([cap if n is None else n for n in found])) for target, found in reached.items()},
        failures={target: sum(n is None for n in found) for target, found in reached.items()},
        iou={n: float(np.mean([iou_after(each.ious, n) for each in sessions])) for n in CLICKS_SHOWN if n <= cap},
        drops=sum(drops(each.ious) for each in sessions),
        added_clicks=sum(len(each.ious) - 1 for each in sessions),
        seconds_a_click=float(np.mean([second for each in sessions for second in each.seconds])),
    )
