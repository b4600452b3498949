"""The lease: one night at a time on a library, also between drivers whose clocks disagree.

Whether a holder is alive is judged by the store's clock alone: the time of its last heartbeat object against the time
of a probe that was written just now. And a holder that was taken for dead cannot do harm when it wakes up: see
pipeline/library/ledger.py.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from types import TracebackType

from pipeline.config import InvalidJob
from pipeline.library.ledger import Compaction, Holder, Night, Overtaken, State, append_state, read_state, state_key
from pipeline.storage.retry import StoreUnavailable
from pipeline.storage.store import Store

BEATS_AN_EXPIRY = 5
ASK_AGAIN_S = 5.0
CLOCK_KEY = "lease/clock"
HEARTBEAT = b"the time of this object is what it says\n"

log = logging.getLogger("m2n2.nightly")


class LeaseHeld(RuntimeError):
    """Another driver works on the library: the message says who, and since when."""


class LeaseLost(RuntimeError):
    """Another driver took over: this one may not commit any more, and has not."""


class Lease:
    """The right to change a library, from `take_lease` to the end of the `with` block."""

    def __init__(self, store: Store, state: State, on_lost: Callable[[], None]) -> None:
        self._store, self._on_lost = store, on_lost
        self.state = state
        assert state.holder is not None, "a lease begins with the state that gives it"
        self.holder = state.holder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        try:
            self._append(holder=None)
        except LeaseLost as lost:
            # Whoever was to be told has been told by the commit that failed, or had nothing to commit.
            log.warning("%s", lost)

    def commit(self, nights: Sequence[Night]) -> None:
        """Record the library's nights. Raises LeaseLost where another driver took over; then nothing is recorded."""
        self._append(nights=tuple(nights))

    def commit_compaction(self, compaction: Compaction) -> None:
        """Record that files were folded. Raises as `commit`."""
        self._append(compactions=(*self.state.compactions, compaction))

    def check(self) -> None:
        """Raise LeaseLost where another driver took over."""
        newest = read_state(self._store).holder
        if newest is None or newest.id != self.holder.id:
            raise LeaseLost(f"{self._store.url('')}: the lease {self.holder.token} is lost to {newest}")

    def _append(self, **changes: object) -> None:
        state = replace(self.state, number=self.state.number + 1, **changes)  # type: ignore[arg-type]
        try:
            append_state(self._store, state)
        except Overtaken as error:
            raise LeaseLost(f"{self._store.url('')}: the lease {self.holder.token} is lost: {error}") from error
        self.state = state

    def _beat(self) -> None:
        while not self._ended.wait(self.holder.expires_after_s / BEATS_AN_EXPIRY):
            try:
                self._store.put(_heartbeat_key(self.holder), HEARTBEAT)
                self.check()
            except StoreUnavailable as error:
                # The work meets the same outage; if somebody took over meanwhile, the next beat or commit finds out.
                log.warning("lease: no heartbeat: %s", error)
            except LeaseLost as error:
                log.error("%s", error)
                self._on_lost()
                return


def wait_for_lease(
    store: Store,
    expires_after_s: float,
    on_lost: Callable[[], None],
    wait_s: float,
    stop: threading.Event,
    allow_replacing: bool = False,
) -> Lease:
    """Take the lease as `take_lease` does, asking again for up to `wait_s` seconds while another driver holds it.

    A driver that died leaves its lease behind: waiting a little longer than its expiry is enough to follow it.

    Args:
        stop: once set, there is no more waiting.
    """
    give_up_at = time.monotonic() + wait_s
    while True:
        try:
            return take_lease(store, expires_after_s, on_lost, allow_replacing)
        except LeaseHeld as held:
            left_s = give_up_at - time.monotonic()
            if left_s <= 0 or stop.is_set():
                raise
            log.warning("waiting up to %.0f s more for the lease: %s", left_s, held)
        stop.wait(min(ASK_AGAIN_S, left_s))


def take_lease(
    store: Store, expires_after_s: float, on_lost: Callable[[], None], allow_replacing: bool = False
) -> Lease:
    """Take the lease of the library below `store`, from a holder that has expired too.

    Args:
        expires_after_s: seconds without a heartbeat after which others may take over.
        on_lost: called from a thread as soon as it is seen that somebody did.
        allow_replacing: accept storage on which two nights at once would harm each other, with a warning.

    Raises:
        LeaseHeld: its holder is alive, or expired too short a time ago to tell.
        InvalidJob: the storage replaces objects that are there, so that nothing on it can be a lease.
    """
    if not store.honours_create_if_absent():
        found = f"library {store.url('')}: found storage that replaces an object when told to create it only if absent"
        if not allow_replacing:
            raise InvalidJob(
                f"{found}; allowed: storage that refuses (S3's If-None-Match), or allow_storage_that_replaces: true "
                "for whoever sees to it that no two nights run at once"
            )
        log.warning("%s: nothing here keeps two nights apart (allow_storage_that_replaces)", found)
    while True:
        state = read_state(store)
        now = store_time(store)
        if state.holder is not None:
            _check_expired(store, state.holder, now)
        number = state.number + 1
        holder = Holder(
            id=uuid.uuid4().hex,
            host=platform.node(),
            pid=os.getpid(),
            token=number,
            since=now.isoformat(timespec="seconds"),
            expires_after_s=expires_after_s,
        )
        taken = replace(state, number=number, holder=holder)
        try:
            append_state(store, taken)
        except Overtaken:
            continue
        if state.holder is not None:
            log.warning("lease %d: taken over from %s pid %d", number, state.holder.host, state.holder.pid)
        return Lease(store, taken, on_lost)


def _check_expired(store: Store, holder: Holder, now: datetime) -> None:
    try:
        last = store.info(_heartbeat_key(holder)).modified
    except FileNotFoundError:
        last = store.info(state_key(holder.token)).modified
    silent_s = (now - last).total_seconds()
    if silent_s <= holder.expires_after_s:
        raise LeaseHeld(
            f"{store.url('')} is held by {holder.host} pid {holder.pid} since {holder.since} (lease {holder.token}); "
            f"its last heartbeat is {max(0.0, silent_s):.0f} s old, after {holder.expires_after_s:g} s without one it "
            "may be taken over. One night runs at a time: nothing was done"
        )


def store_time(store: Store) -> datetime:
    """The time by the store's own clock."""
    store.put(CLOCK_KEY, HEARTBEAT)
    return store.info(CLOCK_KEY).modified


def _heartbeat_key(holder: Holder) -> str:
    return f"lease/{holder.token:010d}"
