"""What every export format reads: images and masks with identifiers that stay, the same at every pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.frozen_parts import FrozenParts, LabelledImage, newest_rows
from pipeline.inputs.categories import categories_of_plan
from pipeline.plan import planned_categories


@dataclass(frozen=True)
class Labels:
    """A frozen set of labels, of a run or of a library.

    Attributes:
        fingerprint: of what decided the masks: the run's plan, or the library's index.
        parts_digest: of the list of parts that is read: two exports with the same one have the same content.
        categories: identifier of every category, in the order of exports.
        images: called with the columns that are needed besides image and object; gives the images in the order of
            their identifiers, the same at every call. Rows without `rle` have no mask. The column "provenance" is each
            mask's `pipeline.provenance.Provenance`.
        missing: keys of parts that should be there and are not: what they hold is left out.
        supercategories: of categories that have one.
    """

    fingerprint: str
    parts_digest: str
    categories: Mapping[str, int]
    images: Callable[[Sequence[str]], Iterator[LabelledImage]]
    missing: Sequence[str]
    supercategories: Mapping[str, str] = field(default_factory=dict)


def labels_of_run(parts: FrozenParts) -> Labels:
    """The labels of a run's parts; categories as the plan was given them, others after these in alphabetical order."""
    first = parts.attempts[0].plan
    given = list(categories_of_plan(first.identity))
    categories = {category.name: category.id for category in given}
    others = [name for name in planned_categories(parts.store, first) if name not in categories]
    categories |= {name: number for number, name in enumerate(others, start=max(categories.values(), default=0) + 1)}
    return Labels(
        fingerprint=first.fingerprint,
        parts_digest=parts.digest,
        categories=categories,
        images=lambda columns: newest_rows(parts, columns),
        missing=parts.missing,
        supercategories={each.name: each.supercategory for each in given if each.supercategory},
    )
