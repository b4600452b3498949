"""Very many names of which only has to be known whether one is among them: eight bytes each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np

from pipeline.export.files import name_digest


class NameSet:
    """A set of names by their digests: with 10 million names in it, it takes one in 2e12 others for one of them."""

    def __init__(self, names: Iterable[str]) -> None:
        """Read through the names, keeping none of them."""
        self._digests = np.unique(np.frombuffer(array("Q", map(name_digest, names)), np.uint64))

    def __contains__(self, name: str) -> bool:
        digest = np.uint64(name_digest(name))
        at = int(np.searchsorted(self._digests, digest))
        return at < len(self._digests) and bool(self._digests[at] == digest)
