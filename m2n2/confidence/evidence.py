"""What the head knows of a mask besides the mask: the inputs of its score. How it is gathered: gather_evidence.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Evidence:
    """Shares of about 0 to 1, but for `correction`, which may be larger, and `clicks`.

    Attributes:
        stability: pixels of the object with all lambdas 30% smaller over pixels with them 30% larger.
        consensus: mean IoU of the mask with the other masks that the first click's map offers, weighted by how likely
            each is.
        centrality: how central the first click is in the mask.
        roundness: 4 pi area / perimeter^2.
        correction: how deep inside what was wrong before the last click that click was, in depths of the mask; 1 for a
            single click.
        rivals: whether another object's first click is inside, 0 or 1.
        clicks: how many.
    """

    stability: float
    consensus: float
    centrality: float
    roundness: float
    correction: float
    rivals: float
    clicks: int
