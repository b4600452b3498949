"""What the command line returns, and which errors are whose."""

from __future__ import annotations

COMPLETE, INCOMPLETE, BAD_INPUT, NEEDS_A_PERSON = 0, 1, 2, 3


def tell(error: Exception) -> tuple[int, str] | None:
    """Exit code and text for an error that one line explains; None for a defect of ours, which needs its traceback."""
    # Here, where something went wrong, so that `m2n2 --help` need not wait for these libraries.
    from m2n2.errors import InvalidAttention, InvalidDevice, InvalidWeights
    from pipeline.clicks import InvalidClicks
    from pipeline.config import InvalidJob
    from pipeline.describe import describe, without_credentials
    from pipeline.evaluation.truths import InvalidTruth
    from pipeline.library.lease import LeaseHeld, LeaseLost
    from pipeline.plan import PlanMismatch
    from pipeline.storage.parquet import DamagedObject
    from pipeline.storage.reach import LinkLocal
    from pipeline.storage.refusals import UnusableStorage, is_full, refusal

    theirs = (InvalidJob, InvalidClicks, InvalidTruth, InvalidWeights, InvalidAttention, InvalidDevice)
    if isinstance(error, (*theirs, PlanMismatch, UnusableStorage, DamagedObject, LinkLocal)):
        return BAD_INPUT, without_credentials(str(error))
    # Storage or a cluster that may be there again later, a library that is free later.
    if isinstance(error, ConnectionError | TimeoutError | LeaseHeld | LeaseLost):
        return INCOMPLETE, without_credentials(str(error))
    if found := refusal(error):
        return (INCOMPLETE if is_full(error) else BAD_INPUT), found
    if isinstance(error, OSError | UnicodeError):  # of the environment: nothing in the code makes files unreadable
        return BAD_INPUT, describe(error)
    return None
