"""A piece of an export: what a range of a run's shards adds to the files of each format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.config import ExportFormat
from pipeline.export.format import InPieces, Options
from pipeline.export.labels import Labels
from pipeline.export.masks import Found, Reading, Selection
from pipeline.export.one_pass import Writer, fill_in_turn, open_writers
from pipeline.frozen_parts import FrozenParts, newest_rows, parts_within
from pipeline.provenance import Provenance
from pipeline.storage.store import Store

# Of the other formats each image's file has a name that no other image may have, or rows lie in groups of so many.
IN_PIECES: tuple[ExportFormat, ...] = ("coco", "coco-results", "coco-polygon", "labelstudio", "cvat")


@dataclass(frozen=True)
class Whole:
    """What all pieces are made of: `labels` are those of `parts`."""

    parts: FrozenParts
    labels: Labels
    formats: Sequence[ExportFormat]
    options: Options
    selection: Selection


@dataclass(frozen=True)
class Piece:
    """What each of the formats got, what it lost, and what was found."""

    grown: Sequence[Mapping[str, bytes]]
    lost: Sequence[Counter[str]]
    found: Found


def why_not_in_pieces(formats: Sequence[ExportFormat], options: Options) -> str | None:
    """Why an export cannot be written in pieces; None where it can."""
    if others := [name for name in formats if name not in IN_PIECES]:
        return f"found the format {others[0]}; allowed: {', '.join(IN_PIECES)}"
    if options.with_images or options.split_by is not None:
        found = "--with-images" if options.with_images else "--split-by"
        return f"found {found}; allowed: documents of one file, without images"
    return None


def make_piece(whole: Whole, shards: range, origins: Sequence[Provenance]) -> Piece:
    """The piece of these shards; `origins` have their numbers already. Raises as `newest_rows` does."""
    labels = replace(whole.labels, images=lambda columns: newest_rows(parts_within(whole.parts, shards), columns))
    reading = Reading(labels, whole.selection, origins)
    with open_writers(whole.formats, Store(""), whole.options) as writers:
        fill_in_turn(reading, writers)
        grown = [as_pieces(writer).piece() for writer, _ in writers]
    return Piece(grown, [folder.lost for _, folder in writers], reading.found())


def join_piece(piece: Piece, reading: Reading, writers: Sequence[Writer]) -> None:
    """Append a piece to what the pieces before it gave."""
    reading.join(piece.found)
    for (writer, folder), grown, lost in zip(writers, piece.grown, piece.lost, strict=True):
        as_pieces(writer).join(grown)
        folder.lost.update(lost)


def as_pieces(writer: object) -> InPieces:
    """The writer of a format of IN_PIECES."""
    assert isinstance(writer, InPieces), "why_not_in_pieces has said so"
    return writer
