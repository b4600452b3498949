"""What is said, and returned, where parts of an output are not there (yet)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.exit_codes import COMPLETE, INCOMPLETE
from jobs.process import write


def tell_missing(missing: Sequence[str], made: str) -> int:
    """The exit code of a command that read all parts but the `missing` ones; `made` is what it made of them."""
    if not missing:
        return COMPLETE
    write(
        sys.stderr,
        f"m2n2: {len(missing)} parts were not there, such as {missing[0]}: what they hold, or will hold, "
        f"is not in {made}",
    )
    return INCOMPLETE
