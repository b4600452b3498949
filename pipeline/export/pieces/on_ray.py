"""Pieces of an export as Ray tasks, a range of shards each, joined in order as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from pipeline.export.masks import Reading
from pipeline.export.one_pass import Fill, Writer
from pipeline.export.pieces.piece import Piece, Whole, join_piece, make_piece
from pipeline.plan import Plan

OBJECTS_A_PIECE = 50_000  # a few tens of megabytes of JSON
PIECES_A_WORKER = 4  # of a small run, so that all have something to do to the end


class ExportIncomplete(ConnectionError):
    """A task was lost, again and again: the cluster may have room for it later."""


def fill_by_tasks(whole: Whole, workers: int) -> Fill:
    """What fills the formats of an export by `workers` tasks at once; Ray is connected.

    Raises, when it fills:
        ExportIncomplete: tasks are lost.
        ForeignPart, PlanDamaged: as one process would.
    """

    def fill(reading: Reading, writers: Sequence[Writer]) -> None:
        # What a task reads is its own range's; the caller's way to read all of it stays here.
        shared = ray.put(replace(whole, labels=replace(whole.labels, images=_of_a_range)))
        task: Any = ray.remote(num_cpus=1)(make_piece)
        spans = iter(_spans(whole.parts.attempts[0].plan, workers))

        def begin(shards: range) -> tuple[range, Any]:
            return shards, task.remote(shared, shards, tuple(reading.origins))

        waiting = deque(begin(shards) for shards in islice(spans, workers))
        while waiting:
            shards, reference = waiting.popleft()
            piece = _made(reference)
            if not reading.is_continued_by(piece.found):  # begun before it was known what numbers origins have
                piece = _made(begin(shards)[1])
            waiting.extend(begin(following) for following in islice(spans, 1))
            join_piece(piece, reading, writers)

    return fill


def _made(reference: Any) -> Piece:
    try:
        piece: Piece = ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error
    except RayError as error:
        raise ExportIncomplete(f"a task of the export was lost: {error}") from error
    return piece


def _spans(plan: Plan, workers: int) -> Iterator[range]:
    """The shards in ranges of about as many objects."""
    objects_a_piece = min(OBJECTS_A_PIECE, -(-plan.objects // (PIECES_A_WORKER * workers)))
    first = objects = 0
    for shard in plan.shards:
        objects += shard.objects
        if objects >= objects_a_piece:
            yield range(first, shard.index + 1)
            first, objects = shard.index + 1, 0
    if objects:
        yield range(first, len(plan.shards))


def _of_a_range(columns: Sequence[str]) -> Iterator[Any]:
    raise AssertionError("a piece reads its own range")
