"""Categories whose identifiers are given: COCO's list of them, which a job names, read once."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.config import InvalidJob, Job
from pipeline.describe import describe
from pipeline.inputs.click_table import ClickTable
from pipeline.storage.store import Store

FIELDS = ("id", "name", "supercategory")
LARGEST_ID = 2**31 - 1  # that every reader of the exports can hold
LARGEST_ID_IN_PNG = 2**16 - 1

log = logging.getLogger("m2n2.categories")


@dataclass(frozen=True)
class Category:
    """A category as COCO has it; `id` is from 1."""

    id: int
    name: str
    supercategory: str | None = None


def read_categories(job: Job) -> tuple[Category, ...]:
    """The categories of the job's file in its order; none where the job names no file. Raises as `category_list`."""
    if job.categories is None:
        return ()
    categories, source = category_list(job.categories, Store("", job.storage)), f"categories: {job.categories}"
    if "png" in job.export and (too_large := [each for each in categories if each.id > LARGEST_ID_IN_PNG]):
        where = f"{source}: element {categories.index(too_large[0])}: id"
        raise InvalidJob(f"{where}: found {too_large[0].id}; allowed where png is exported: 1 to {LARGEST_ID_IN_PNG}")
    return categories


def category_list(address: str, store: Store) -> tuple[Category, ...]:
    """The categories of a file, in its order.

    Raises:
        InvalidJob: the file is not there, or no list of categories; the message names file, element (from 0) and field.
    """
    source = f"categories: {address}"
    try:
        document = json.loads(store.read(address))
    except FileNotFoundError:
        raise InvalidJob(f"{source}: there is no such file") from None
    except (ValueError, OSError, RecursionError) as error:
        raise InvalidJob(f"{source}: not readable as JSON: {describe(error)}") from error
    if not isinstance(document, list) or not document:
        found = "an empty list" if document == [] else type(document).__name__
        raise InvalidJob(f'{source}: found {found}; allowed: a list such as [{{"id": 1, "name": "person"}}]')
    categories = tuple(_category(element, f"{source}: element {number}") for number, element in enumerate(document))
    _check_each_once(categories, source)
    for name, number in sorted(Counter(key for each in document for key in each if key not in FIELDS).items()):
        log.warning("%s: %d of %d elements have a field %r, which is not kept", source, number, len(document), name)
    return categories


def refuse_unknown_categories(job: Job, categories: Sequence[Category], clicks: ClickTable) -> None:
    """Raise InvalidClicks where clicks have a category that is none of these, unless the job adds such."""
    if categories and job.unknown_categories == "refuse":
        clicks.check_categories([each.name for each in categories])


def categories_in_plan(categories: Sequence[Category]) -> dict[str, Any]:
    """What a plan's identity says of given categories; nothing where there are none. By name: so differences are."""
    named = {}
    for place, category in enumerate(categories):
        values = {key: value for key, value in asdict(category).items() if key != "name" and value is not None}
        named[category.name] = values | {"place": place}
    return {"categories": named} if named else {}


def categories_of_plan(identity: Mapping[str, Any]) -> Iterator[Category]:
    """The categories that a plan was given, in their order."""
    named: Mapping[str, Any] = identity.get("categories", {})
    for name in sorted(named, key=lambda name: int(named[name]["place"])):
        yield Category(named[name]["id"], name, named[name].get("supercategory"))


def _category(element: Any, where: str) -> Category:
    if not isinstance(element, dict):
        raise InvalidJob(f"{where}: found {element!r}; allowed: an object with id and name")
    number, name, above = (element.get(field) for field in FIELDS)
    if type(number) is not int or not 1 <= number <= LARGEST_ID:
        found = repr(number) if "id" in element else "none"
        raise InvalidJob(f"{where}: id: found {found}; allowed: a whole number from 1 to {LARGEST_ID}")
    if not _is_text(name):
        found = repr(name) if "name" in element else "none"
        raise InvalidJob(f"{where}: name: found {found}; allowed: text that is not empty")
    if above is not None and not isinstance(above, str):
        raise InvalidJob(f"{where}: supercategory: found {above!r}; allowed: text, or none")
    return Category(number, str(name), above or None)


def _is_text(name: Any) -> bool:
    try:
        return isinstance(name, str) and bool(name.encode())
    except UnicodeEncodeError:  # half a surrogate pair
        return False


def _check_each_once(categories: Sequence[Category], source: str) -> None:
    first: dict[tuple[str, Any], int] = {}
    for number, category in enumerate(categories):
        for field, value in (("id", category.id), ("name", category.name)):
            before = first.setdefault((field, value), number)
            if before != number:
                raise InvalidJob(
                    f"{source}: element {number}: {field}: found {value!r}, which element {before} has too; "
                    "allowed: each once"
                )
