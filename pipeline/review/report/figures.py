"""The report's figures: totals, and the charts of scores, areas, clicks, rate and stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from m2n2.confidence.fit import agreement
from pipeline.review.queue import ReviewQueue
from pipeline.review.report import charts
from pipeline.review.run_facts import RunFacts

SCORE_BINS, RELIABILITY_BINS, RATE_BINS = 20, 10, 48
CATEGORIES = 12
QUANTILES = "0.05, 0.25, 0.5, 0.75, 0.95"
MOST_CLICKS = 5


@dataclass(frozen=True)
class Figure:
    """One chart with its title and a line that says what it leaves out or means; `svg` is None where there is none."""

    title: str
    svg: str | None
    note: str


def totals(queue: ReviewQueue) -> dict[str, Any]:
    """Counts over all objects: images, objects, masks, failed, categories, mean and median score, clicks."""
    (row,) = queue.select(
        """SELECT count(DISTINCT image) AS images, count(*) AS objects, count(score) AS masks,
                count(failure) AS failed, count(DISTINCT category) AS categories, avg(score) AS mean_score,
                median(score) AS median_score, coalesce(sum(clicks), 0)::BIGINT AS clicks
           FROM queue"""
    )
    return row


def figures(queue: ReviewQueue, facts: RunFacts, truth: Sequence[tuple[float, float]] | None) -> list[Figure]:
    """All charts, in the order of the page; `truth` are scores and IoUs of the masks whose truth is known."""
    known = [] if truth is None else [_reliability(truth)]
    return [_scores(queue), *known, _areas(queue), _clicks(queue), _rate(facts), _stages(facts)]


def _reliability(truth: Sequence[tuple[float, float]]) -> Figure:
    title = "Scores against the truth"
    if not truth:
        return Figure(title, None, "No mask is of an object whose truth is known.")
    bins: dict[int, list[tuple[float, float]]] = {}
    for score, iou in truth:
        bins.setdefault(min(RELIABILITY_BINS - 1, int(score * RELIABILITY_BINS)), []).append((score, iou))
    means = [tuple(fmean(values) for values in zip(*bins[each], strict=True)) for each in sorted(bins)]
    found = agreement(*zip(*truth, strict=True))
    svg = charts.diagonal("reliability", [(score, iou) for score, iou in means], "score", "mean IoU with the truth")
    return Figure(
        title,
        svg,
        f"{found.objects:,} masks whose truth is known, by tenths of the score; on the line scores say what is so. "
        f"Rank correlation {found.rank_correlation:.2f}, mean difference {found.reliability_error:.3f}.",
    )


def _scores(queue: ReviewQueue) -> Figure:
    counts = {
        row["bin"]: row["number"]
        for row in queue.select(
            f"""SELECT least(floor(score * {SCORE_BINS}), {SCORE_BINS - 1})::INTEGER AS bin, count(*) AS number
                FROM queue WHERE score IS NOT NULL GROUP BY 1"""
        )
    }
    if not counts:
        return Figure("Scores", None, "No object has a mask.")
    edges = [each / SCORE_BINS for each in range(SCORE_BINS + 1)]
    heights = [counts.get(each, 0) for each in range(SCORE_BINS)]
    return Figure("Scores", charts.bars("scores", edges, heights, "score", "masks"), "All masks.")


def _areas(queue: ReviewQueue) -> Figure:
    rows = queue.select(
        f"""SELECT category, quantile_cont(100 * area / (width::DOUBLE * height), [{QUANTILES}]) AS found
            FROM queue WHERE area > 0 GROUP BY category ORDER BY count(*) DESC, category LIMIT {CATEGORIES}"""
    )
    if not rows:
        return Figure("Areas by category", None, "No object has a mask.")
    svg = charts.boxes("areas", {str(row["category"]): row["found"] for row in rows}, "share of the image (5% to 95%)")
    return Figure("Areas by category", svg, f"Median, quarters, and 5% to 95% of all masks.{_left_out(queue)}")


def _clicks(queue: ReviewQueue) -> Figure:
    counts = ", ".join(
        f"count(*) FILTER (WHERE least(clicks, {MOST_CLICKS}) = {number}) / count(*)"
        for number in range(1, MOST_CLICKS + 1)
    )
    rows = queue.select(
        f"""SELECT category, [{counts}] AS shares FROM queue WHERE clicks > 0
            GROUP BY category ORDER BY count(*) DESC, category LIMIT {CATEGORIES}"""
    )
    if not rows:
        return Figure("Clicks by category", None, "No object has clicks.")
    by_category = {str(row["category"]): row["shares"] for row in rows}
    svg = charts.shares("clicks", by_category, charts.CLICK_COUNTS, "objects with so many clicks")
    return Figure("Clicks by category", svg, f"All objects that are in the parts.{_left_out(queue)}")


def _left_out(queue: ReviewQueue) -> str:
    number = queue.select("SELECT count(DISTINCT category) AS number FROM queue")[0]["number"]
    return f" The {CATEGORIES} most frequent of {number:,} categories." if number > CATEGORIES else ""


def _rate(facts: RunFacts) -> Figure:
    title = "Rate over time"
    if len(facts.arrivals) < 2 or facts.arrivals[0][0] == facts.arrivals[-1][0]:
        return Figure(title, None, "A rate needs parts that were written at different times.")
    first, last = facts.arrivals[0][0], facts.arrivals[-1][0]
    unit_s, unit = _unit(last - first)
    width_s = (last - first) / RATE_BINS
    # What the first part holds was labelled before it was written.
    images = [0.0] * RATE_BINS
    for at, number in facts.arrivals[1:]:
        images[min(RATE_BINS - 1, int((at - first) / width_s))] += number
    edges = [each * width_s / unit_s for each in range(RATE_BINS + 1)]
    svg = charts.bars(
        "rate", edges, [number / width_s for number in images], f"{unit} since the first part", "images a second"
    )
    note = f"By the times at which {len(facts.arrivals):,} parts were written, all attempts and pauses included."
    return Figure(title, svg, note)


def _unit(seconds: float) -> tuple[float, str]:
    if seconds > 3 * 3600:
        return 3600.0, "hours"
    return (60.0, "minutes") if seconds > 3 * 60 else (1.0, "seconds")


def _stages(facts: RunFacts) -> Figure:
    title, total = "Where the time went", sum(facts.stages.values())
    if not total:
        return Figure(title, None, "The run did not measure its stages.")
    parts: Sequence[str] = list(facts.stages)
    svg = charts.shares("stages", {"stages": [facts.stages[each] / total for each in parts]}, parts, "of all seconds")
    return Figure(title, svg, f"{total:,.0f} seconds of all workers' threads; some of them ran side by side.")
