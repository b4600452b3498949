"""Which nodes workers start on: failed starts are counted by node, and a node where none starts is left alone.

A broken GPU, damaged weights on one disk, a package that one image of the workers lacks: each is the fault of one node,
and the others go on without it. So is a device that fails after its worker was ready, although the next worker starts
well: such failures count until a task is finished on it, whatever the node's other devices do. Ray cannot be told to
leave out one device, so no worker starts on its node any more; those that are there go on. The run ends when no node is
left. No Ray here.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from pipeline.tasks import Place

FAILURES_ALLOWED = 3  # in a row, on one node
UNKNOWN = Place(node_id="", host="a node that is not known", pid=0)  # of workers that died before they said theirs

log = logging.getLogger("m2n2.run")


class NoWorkers(RuntimeError):
    """No node can keep a worker: the message says which there are and why not."""


@dataclass
class _Record:
    host: str
    failed_starts: int = 0
    failed_devices: Counter[str] = field(default_factory=Counter)
    given_up: bool = False
    message: str = ""
    refusal: Exception | None = None

    @property
    def failures(self) -> int:
        return self.failed_starts + max(self.failed_devices.values(), default=0)


class Nodes:
    """What is known of the nodes where workers did not start."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def worked(self, place: Place) -> None:
        """A worker became ready there, or had been ready before it was lost: the node can start workers."""
        self._records.pop(UNKNOWN.node_id, None)
        record = self._records.get(place.node_id)
        if record and record.failed_devices:
            record.failed_starts = 0
        elif record:
            del self._records[place.node_id]

    def finished(self, place: Place) -> None:
        """A task was finished there: the device works."""
        record = self._records.get(place.node_id)
        if record and not record.given_up:
            del record.failed_devices[place.gpu]

    def failed(self, place: Place | None, message: str, refusal: Exception | None = None) -> None:
        """A worker did not start.

        Args:
            place: where; None where it died before it could say.
            refusal: why the node will never start one, such as weights that are damaged; None: it may, another time.
        """
        place = place or UNKNOWN
        record = self._records.setdefault(place.node_id, _Record(place.host))
        record.failed_starts += 1
        self._judge(record, message, refusal)

    def device_failed(self, place: Place, message: str) -> None:
        """The device of a worker failed that had been ready."""
        record = self._records.setdefault(place.node_id, _Record(place.host))
        record.failed_devices[place.gpu] += 1
        self._judge(record, f"GPU {place.gpu}: {message}" if place.gpu else message, None)

    def _judge(self, record: _Record, message: str, refusal: Exception | None) -> None:
        record.message, record.refusal = message, refusal
        if record.given_up or (refusal is None and record.failures < FAILURES_ALLOWED):
            return
        record.given_up = True
        counts = f"failed starts={record.failed_starts} failed devices={record.failed_devices.total()}"
        log.error("node not used any more host=%s %s: %s", record.host, counts, message)

    @property
    def given_up(self) -> frozenset[str]:
        """Ids of the nodes that are not used any more."""
        return frozenset(node for node, record in self._records.items() if record.given_up and node)

    def none_left(self, could_hold: Collection[str]) -> bool:
        """Whether no node is left of those that could hold a worker; where there are none yet, one may come."""
        unknown = self._records.get(UNKNOWN.node_id)
        return (bool(could_hold) and self.given_up >= set(could_hold)) or (unknown is not None and unknown.given_up)

    def fail(self) -> None:
        """Say why no node is left. Raises the nodes' own refusal where all have one, else NoWorkers."""
        records = [record for record in self._records.values() if record.given_up]
        refusals = [record.refusal for record in records if record.refusal is not None]
        if len(refusals) == len(records):
            raise type(refusals[0])(f"{records[0].host}: {refusals[0]}")
        told = "; ".join(f"{each.host}, {each.failures} times in a row: {each.message}" for each in records)
        raise NoWorkers(f"no node is left that workers start and stay on: {told}")
