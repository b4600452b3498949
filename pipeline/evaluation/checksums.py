"""Lists of the sha256 of a data set's files: read, written, and those of known sets that come with the code.

A list beside the data, `SHA256SUMS`, is what `sha256sum` writes and checks. Lists that come with the code can only be
of copies that were at hand: GrabCut's. Of the other sets the number of objects is checked, and a list is made of a
copy that one trusts by `m2n2 evaluate DATA --set NAME --write-checksums`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files

from pipeline.config import InvalidJob
from pipeline.storage.store import Store

SUMS = "SHA256SUMS"


def sums_beside(store: Store) -> dict[str, str]:
    """Digests by key, of the list that lies beside the data; empty where there is none."""
    return _parsed(store.read(SUMS).decode()) if store.exists(SUMS) else {}


def sums_of_known_set(name: str) -> dict[str, str]:
    """Digests by key, of the list of a known set that comes with the code; empty where there is none."""
    file = files("pipeline.evaluation") / "known_sets" / f"{name}.sha256"
    return _parsed(file.read_text()) if file.is_file() else {}


def write_sums(store: Store, keys: Sequence[str]) -> str:
    """Write the list of these files of a data set beside it; returns its address.

    Raises:
        InvalidJob: a list is there, which is not replaced.
        FileNotFoundError: a file is missing.
    """
    lines = [f"{hashlib.sha256(store.read(key)).hexdigest()}  {key}\n" for key in keys]
    if not store.put_new(SUMS, "".join(lines).encode()):
        raise InvalidJob(f"{store.url(SUMS)}: there is a list already; remove it to make a new one")
    return store.url(SUMS)


def _parsed(text: str) -> dict[str, str]:
    lines = (line.partition(" ") for line in text.splitlines())
    return {name.strip().lstrip("*"): digest for digest, _, name in lines if name}
