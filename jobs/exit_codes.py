"""What the command line returns, and which errors are whose."""

from __future__ import annotations

COMPLETE, INCOMPLETE, BAD_INPUT, NEEDS_A_PERSON = 0, 1, 2, 3


def exit_code_of(error: Exception) -> int | None:
    """The code for an error that one line explains; None for a defect of ours, which needs its traceback."""
    # Here, where something went wrong, so that `m2n2 --help` need not wait for these libraries.
    from m2n2.errors import InvalidAttention, InvalidWeights
    from pipeline.clicks import InvalidClicks
    from pipeline.config import InvalidJob
    from pipeline.plan import PlanMismatch
    from pipeline.storage.retry import StoreUnavailable

    if isinstance(error, InvalidJob | InvalidClicks | InvalidWeights | InvalidAttention | PlanMismatch):
        return BAD_INPUT
    return INCOMPLETE if isinstance(error, StoreUnavailable) else None
