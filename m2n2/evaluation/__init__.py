"""How the field measures interactive segmentation: simulated clicks, number of clicks (NoC), IoU after each click.

Pure functions of masks and numbers: no model, no files, no Ray.
"""

from __future__ import annotations

from m2n2.evaluation.comparison import Comparison, compare_paired
from m2n2.evaluation.measures import Summary, clicks_to_reach, summarise
from m2n2.evaluation.next_click import Click, ClickRule, next_click
from m2n2.evaluation.session import Session, click_objects

__all__ = [
    "Click",
    "ClickRule",
    "Comparison",
    "Session",
    "Summary",
    "click_objects",
    "clicks_to_reach",
    "compare_paired",
    "next_click",
    "summarise",
]
