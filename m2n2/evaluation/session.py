"""A simulated person clicks on objects until the cap, and the IoU after each click is written down."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from m2n2.evaluation.next_click import Click, ClickRule, next_click
from m2n2.prompt import Prompt

Segment = Callable[[Sequence[Prompt]], Sequence[np.ndarray]]  # one (H, W) bool mask a prompt


@dataclass(frozen=True)
class Session:
    """One object's clicks. Shorter than the cap only where a mask became the truth itself.

    Attributes:
        clicks: in order.
        ious: after each click.
        seconds: that each click's call took, shared equally by the objects of the call.
    """

    clicks: tuple[Click, ...]
    ious: tuple[float, ...]
    seconds: tuple[float, ...]


def click_objects(
    segment: Segment, truths: Sequence[np.ndarray], rule: ClickRule, cap: int = 20, names: Sequence[str] = ()
) -> list[Session]:
    """Click on all objects of an image together: in each round every unfinished one gets a click, then all are masked.

    Args:
        segment: from prompts to masks; it gets every object's clicks so far, as in pre-labelling.
        truths: (H, W) bool, one an object; each has a pixel.
        rule: how clicks are placed.
        cap: clicks an object at most.
        names: one an object; with the rule's seed they decide an object's noise, whatever its company is.

    Returns:
        One session an object.
    """
    for number, truth_HW in enumerate(truths):
        if not truth_HW.any():
            raise ValueError(f"object {names[number] if names else number} has no pixel")
    randoms = [_random(rule.seed, names[i] if names else str(i)) for i in range(len(truths))]
    masks: list[np.ndarray] = [np.zeros_like(truth_HW) for truth_HW in truths]
    clicks: list[list[Click]] = [[] for _ in truths]
    ious: list[list[float]] = [[] for _ in truths]
    seconds: list[list[float]] = [[] for _ in truths]
    for _ in range(cap):
        clicked = []
        for i, truth_HW in enumerate(truths):
            if (click := next_click(truth_HW, masks[i], rule, randoms[i])) is not None:
                clicks[i].append(click)
                clicked.append(i)
        if not clicked:
            break
        started = time.perf_counter()
        masks = list(segment([_prompt(each) for each in clicks]))
        each_s = (time.perf_counter() - started) / len(truths)
        for i in clicked:
            ious[i].append(intersection_over_union(masks[i], truths[i]))
            seconds[i].append(each_s)
    return [
        Session(tuple(click), tuple(iou), tuple(second))
        for click, iou, second in zip(clicks, ious, seconds, strict=True)
    ]


def intersection_over_union(mask_HW: np.ndarray, truth_HW: np.ndarray) -> float:
    """IoU of two masks, 1 if both are empty."""
    union = np.count_nonzero(mask_HW | truth_HW)
    return np.count_nonzero(mask_HW & truth_HW) / union if union else 1.0


def _prompt(clicks: Sequence[Click]) -> Prompt:
    return Prompt([(click.x, click.y) for click in clicks], [click.label for click in clicks])


def _random(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, *name.encode()])
