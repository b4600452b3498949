"""What a person has changed about an output or a library by hand: records that are created once and stay.

Whoever asks in a year why an image has no mask, or why a night was begun anew, finds who did it, when, and why.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from pipeline.attempts import all_attempts
from pipeline.config import InvalidJob
from pipeline.failure import Failure
from pipeline.parts import part_key
from pipeline.plan import read_shard, shards_up_to
from pipeline.records import create_record
from pipeline.shards.shard_file import ImageClicks
from pipeline.storage.store import Store

FOLDER = "interventions"

Kind = Literal["skip", "abandon", "unlock", "compact", "collect"]


def record(store: Store, kind: Kind, reason: str, **about: object) -> None:
    """Record that somebody on this machine did `kind`, and why."""
    create_record(store, f"{FOLDER}/{kind}-", {"kind": kind, "reason": reason, "user": _user(), **about})


def skip_image(store: Store, image: str, reason: str, dry_run: bool = False) -> int:
    """Leave an image out of the run below `store`: its objects become error rows with the reason `skipped`.

    Workers find the record when they begin a shard; an image that one of them works on at that moment is not touched.

    Args:
        image: its key, as the plan and every export name it.

    Returns:
        How many objects that are.

    Raises:
        InvalidJob: no run is there, the image is not in it, or it has its masks already.
    """
    attempts = all_attempts(store)
    if not attempts:
        raise InvalidJob(f"{store.url('')}: no run is here; expected plan/plan.json below it")
    plan = attempts[-1]
    index = max(0, shards_up_to(store, plan, image) - 1)
    found = next((each for each in read_shard(store, plan, index) if each.image == image), None)
    if found is None:
        raise InvalidJob(f"image {image!r}: not in the run below {store.url('')}; expected a key as exports have it")
    if store.exists(part_key(plan.root, index)):
        raise InvalidJob(f"image {image!r}: its shard {index} is done, and a part never changes; nothing to skip")
    if not dry_run:
        record(store, "skip", reason, image=image)
    return len(found.objects)


def skipped_images(store: Store) -> Mapping[str, Failure]:
    """The images of a run that somebody wants left out, by key, and the failure that their objects get."""
    records = [json.loads(store.read(entry.key)) for entry in store.listing(FOLDER) if f"{FOLDER}/skip-" in entry.key]
    return {
        each["image"]: Failure("skipped", "left out by {user} on {host} at {at}: {reason}".format(**each))
        for each in records
    }


def without_skipped(image: ImageClicks, skipped: Mapping[str, Failure]) -> ImageClicks:
    """The image with the failure of all of its objects, where it is to be left out; else as it is."""
    failure = skipped.get(image.image)
    if failure is None:
        return image
    return replace(image, objects=tuple(replace(each, failure=each.failure or failure) for each in image.objects))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "somebody"
