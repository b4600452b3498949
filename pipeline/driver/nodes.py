"""Which nodes workers start on: failed starts are counted by node, and a node where none starts is left alone.

A broken GPU, damaged weights on one disk, a package that one image of the workers lacks: each is the fault of one node,
and the others go on without it. The run ends when no node is left. No Ray here.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from pipeline.tasks import Place

FAILED_STARTS_ALLOWED = 3  # in a row, on one node
UNKNOWN = Place(node_id="", host="a node that is not known", pid=0)  # of workers that died before they said theirs

log = logging.getLogger("m2n2.run")


class NoWorkers(RuntimeError):
    """No node can start a worker: the message says which there are and why not."""


@dataclass
class _Record:
    host: str
    failures: int = 0
    given_up: bool = False
    message: str = ""
    refusal: Exception | None = None


class Nodes:
    """What is known of the nodes where workers did not start."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def worked(self, place: Place) -> None:
        """A worker became ready there, or had been ready before it was lost: the node is not to blame."""
        self._records.pop(place.node_id, None)
        self._records.pop(UNKNOWN.node_id, None)

    def failed(self, place: Place | None, message: str, refusal: Exception | None = None) -> None:
        """A worker did not start.

        Args:
            place: where; None where it died before it could say.
            refusal: why the node will never start one, such as weights that are damaged; None: it may, another time.
        """
        place = place or UNKNOWN
        record = self._records.setdefault(place.node_id, _Record(place.host))
        record.failures, record.message, record.refusal = record.failures + 1, message, refusal
        if not record.given_up and (refusal is not None or record.failures >= FAILED_STARTS_ALLOWED):
            record.given_up = True
            log.error("node not used any more host=%s failed starts=%d: %s", record.host, record.failures, message)

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
        raise NoWorkers(f"workers start on no node: {told}")
