"""What every export format reads: images and masks with identifiers that stay, the same at every pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.frozen_parts import FrozenParts, LabelledImage, newest_rows
from pipeline.plan import planned_categories


@dataclass(frozen=True)
class Labels:
    """A frozen set of labels, of a run or of a library.

    Attributes:
        fingerprint: of what decided the masks: the run's plan, or the library's index.
        parts_digest: of the list of parts that is read: two exports with the same one have the same content.
        categories: identifier of every category.
        images: called with the columns that are needed besides image and object; gives the images in the order of
            their identifiers, the same at every call. Rows without `rle` have no mask. The column "provenance" is each
            mask's `pipeline.provenance.Provenance`.
        missing: keys of parts that should be there and are not: what they hold is left out.
    """

    fingerprint: str
    parts_digest: str
    categories: Mapping[str, int]
    images: Callable[[Sequence[str]], Iterator[LabelledImage]]
    missing: Sequence[str]


def labels_of_run(parts: FrozenParts) -> Labels:
    """The labels of a run's parts; categories count from 1 in alphabetical order of all that were planned."""
    first = parts.attempts[0].plan
    names = planned_categories(parts.store, first)
    return Labels(
        fingerprint=first.fingerprint,
        parts_digest=parts.digest,
        categories={name: number for number, name in enumerate(names, start=1)},
        images=lambda columns: newest_rows(parts, columns),
        missing=parts.missing,
    )
