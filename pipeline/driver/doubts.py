"""What looks wrong about a run's images and clicks although nothing fails: counted over drivers, warned of, and judged.

Photos that a viewer would turn (EXIF orientation) while the job does not say on which of the two the clicks were made
give masks of the wrong place, or of nothing. That ends a run; the job's `orientation`, written out, settles it. Clicks
that lie in the upper left quarter of nearly every image were probably made on smaller copies, or are per cent or per
mille: of that there is a warning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.config import Job
from pipeline.driver.plan_notes import read_notes, write_notes
from pipeline.storage.store import Store
from pipeline.tasks import Doubt, TaskReport

DOUBTS_KEY = "status/doubts.json"
# By chance, one click in four lies in the upper left quarter.
ALL_IN_ONE_QUARTER = 0.95
ENOUGH_IMAGES = 50


@dataclass(frozen=True)
class Doubts:
    """Images that were looked at, and of these the doubtful ones by what is doubtful."""

    looked_at: int = 0
    images: Mapping[Doubt, int] = field(default_factory=dict)

    def plus(self, report: TaskReport) -> Doubts:
        """With what one more task has found."""
        return Doubts(self.looked_at + report.looked_at, dict(Counter(self.images) + Counter(report.doubts)))


def write_doubts(store: Store, fingerprint: str, doubts: Doubts) -> None:
    """Replace what stands there; of several drivers the last one's counts."""
    notes = {"looked_at": doubts.looked_at, "images": dict(doubts.images)}
    write_notes(store, DOUBTS_KEY, fingerprint, notes)


def read_doubts(store: Store, fingerprint: str) -> Doubts:
    """What earlier drivers counted in the plan with this fingerprint; nothing where there was none."""
    notes = read_notes(store, DOUBTS_KEY, fingerprint)
    return Doubts(notes["looked_at"], notes["images"]) if notes else Doubts()


def warnings(doubts: Doubts, job: Job) -> list[str]:
    """What is doubtful, a line each, with numbers and the key that settles it."""
    lines = []
    looked_at, turned = doubts.looked_at, doubts.images.get("exif_orientation", 0)
    if turned and not job.orientation_is_stated:
        lines.append(
            f"{turned} of {looked_at} images have an EXIF orientation by which viewers turn them, and the job does not "
            "say on which the clicks were made: set `orientation: stored` (the pixels as they are stored, as now) or "
            "`orientation: displayed`, with another output"
        )
    if doubts.images.get("upper_left_quarter", 0) > ALL_IN_ONE_QUARTER * looked_at and looked_at >= ENOUGH_IMAGES:
        lines.append(
            f"all clicks of {doubts.images['upper_left_quarter']} of {looked_at} images lie in the upper left quarter: "
            "were they made on smaller copies, or are they per cent or per mille? x and y are pixels of the images"
        )
    return lines


def why_doubtful(doubts: Doubts, job: Job) -> str | None:
    """Why the run must not go on, or must not count as good, before a person has looked; None where it may."""
    turned = 0 if job.orientation_is_stated else doubts.images.get("exif_orientation", 0)
    if turned <= job.limits.max_suspect_share * doubts.looked_at:
        return None
    allowed = f"allowed: {job.limits.max_suspect_share:.1%} (limits.max_suspect_share)"
    return f"{warnings(doubts, job)[0]}; {allowed}"
