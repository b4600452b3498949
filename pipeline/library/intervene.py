"""What an operator does to a library by hand: give up its open night, take the lease of a driver that is known dead."""

from __future__ import annotations

from dataclasses import replace

from pipeline.config import InvalidJob
from pipeline.interventions import record
from pipeline.library.lease import LeaseHeld, take_lease
from pipeline.library.ledger import Holder, Night, Overtaken, append_state, state_of_library
from pipeline.storage.store import Store

SHORT_LEASE_S = 60.0


def abandon_open_night(library: Store, reason: str, dry_run: bool) -> Night:
    """Give up the night that was begun and not finished; the next night finds its clicks new or changed again.

    Its parts stay where they are; nothing refers to them any more.

    Returns:
        The night that is given up, or with `dry_run` would be.

    Raises:
        InvalidJob: no library is there, or no night is open.
        LeaseHeld: a driver works on the library.
    """
    night = state_of_library(library).open_night
    if night is None:
        raise InvalidJob(f"{library.url('')}: no night is open; nothing to abandon")
    if dry_run:
        return night
    with take_lease(library, SHORT_LEASE_S, on_lost=lambda: None, allow_replacing=True) as lease:
        if lease.state.open_night != night:
            raise InvalidJob(f"{library.url('')}: night {night.date} was finished meanwhile; nothing to abandon")
        others = [each for each in lease.state.nights if each.run != night.run]
        record(library, "abandon", reason, night=night.date, run=night.run)
        lease.commit([*others, replace(night, state="abandoned")])
    return night


def unlock(library: Store, reason: str, dry_run: bool) -> Holder:
    """End the lease, whatever its heartbeat says: for a holder that is known to be dead.

    One that is alive all the same loses nothing but its night's work: the ledger's next number is taken, so it commits
    nothing and ends.

    Returns:
        Who holds the lease.

    Raises:
        InvalidJob: no library is there, or nobody does.
        LeaseHeld: the library changed at that moment: its holder lives.
    """
    state = state_of_library(library)
    if state.holder is None:
        raise InvalidJob(f"{library.url('')}: nobody holds the lease; nothing to unlock")
    if not dry_run:
        try:
            append_state(library, replace(state, number=state.number + 1, holder=None))
        except Overtaken as error:
            raise LeaseHeld(f"{error} at this moment: its holder lives, and nothing was unlocked") from error
        record(library, "unlock", reason, holder=state.holder.host, pid=state.holder.pid, lease=state.holder.token)
    return state.holder
