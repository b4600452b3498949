"""Which images of a run took longest, and on which nodes: added up over tasks and drivers, within bounds.

Seconds are those of the device and of the CPU, without waiting for storage.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from operator import attrgetter

from pipeline.driver.plan_notes import read_notes, write_notes
from pipeline.storage.store import Store
from pipeline.tasks import SlowImage, TaskReport

SLOWEST_KEY = "status/slowest.json"
IMAGES_KEPT = 20
NODES_KEPT = 1_000  # of those that come and go, the ones that did most


@dataclass(frozen=True)
class NodeTotal:
    """What workers on one node did: images, and seconds for them."""

    host: str
    images: int
    seconds: float

    @property
    def seconds_an_image(self) -> float:
        """The mean."""
        return self.seconds / max(1, self.images)


@dataclass(frozen=True)
class Slowest:
    """The images that took longest, the longest first, and every node's total by host."""

    images: tuple[SlowImage, ...] = ()
    nodes: Mapping[str, NodeTotal] = field(default_factory=dict)

    def plus(self, report: TaskReport) -> Slowest:
        """With what one more task took; a task that found its part there took nothing."""
        if not report.slowest:
            return self
        images = heapq.nlargest(IMAGES_KEPT, _once_each([*self.images, *report.slowest]), key=attrgetter("seconds"))
        before = self.nodes.get(report.host, NodeTotal(report.host, 0, 0.0))
        total = NodeTotal(
            report.host, before.images + report.images, round(before.seconds + report.seconds_of_images, 3)
        )
        nodes = {**self.nodes, report.host: total}
        if len(nodes) > NODES_KEPT:
            del nodes[min(nodes.values(), key=attrgetter("images")).host]
        return Slowest(tuple(images), nodes)

    def slowest_nodes(self) -> list[NodeTotal]:
        """All nodes, those with the most seconds an image first."""
        return sorted(self.nodes.values(), key=attrgetter("seconds_an_image"), reverse=True)


def write_slowest(store: Store, fingerprint: str, slowest: Slowest) -> None:
    """Replace what stands there; of several drivers the last one's."""
    notes = {
        "images": [asdict(image) for image in slowest.images],
        "nodes": [asdict(node) for node in slowest.nodes.values()],
    }
    write_notes(store, SLOWEST_KEY, fingerprint, notes)


def read_slowest(store: Store, fingerprint: str) -> Slowest:
    """What drivers before found in the plan with this fingerprint; nothing where there was none."""
    notes = read_notes(store, SLOWEST_KEY, fingerprint)
    if notes is None:
        return Slowest()
    nodes = [NodeTotal(**node) for node in notes["nodes"]]
    return Slowest(tuple(SlowImage(**image) for image in notes["images"]), {node.host: node for node in nodes})


def _once_each(images: Iterable[SlowImage]) -> Iterable[SlowImage]:
    """An image that was labelled again, after a crash, stands there with the longer of its times."""
    longest: dict[str, SlowImage] = {}
    for image in images:
        longest[image.image] = max(image, longest.get(image.image, image), key=attrgetter("seconds"))
    return longest.values()
