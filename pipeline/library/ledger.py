"""The ledger: everything that is true of a library, as numbered states, each an object that is created once.

Who wants to change the library creates the state after the newest one. Of two who try, the store lets one through and
the other learns that it was overtaken. So a driver that slept while another took over cannot commit anything any more,
whatever its clock says: the number that it would write is taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from pipeline.config import InvalidJob
from pipeline.storage.store import Store

STATE_KEY = re.compile(r"ledger/(\d{10})\.json$")


class Overtaken(RuntimeError):
    """Somebody else changed the library in the meantime."""


@dataclass(frozen=True)
class Holder:
    """Who may change the library.

    Attributes:
        id: different for every process.
        token: the fencing token, the number of the state that gave the lease; it only ever grows.
        since: by the store's clock, ISO 8601.
        expires_after_s: seconds without a sign of life after which somebody else may take over.
    """

    id: str
    host: str
    pid: int
    token: int
    since: str
    expires_after_s: float


@dataclass(frozen=True)
class Night:
    """One night that had something to do.

    Attributes:
        date: the day it stands for, YYYY-MM-DD.
        run: its folder below the library, an ordinary run's output, such as "runs/2026-10-03".
        state: "open" until it is committed; "abandoned" where it cannot be continued.
        index: key of the index file that it added; None until it is finished.
        registry: key of the file of identifiers that it added; None where it named nothing new.
    """

    date: str
    run: str
    state: Literal["open", "finished", "abandoned"] = "open"
    index: str | None = None
    registry: str | None = None


@dataclass(frozen=True)
class Compaction:
    """Files of earlier nights and compactions that were folded into one of each kind.

    Attributes:
        index: key of the index file.
        registry: key of the file of identifiers; None where there were not two of them to fold.
        of: keys of the files that these take the place of.
        at: when, by the store's clock, ISO 8601; a reader that began before may still read what was folded.
    """

    index: str
    registry: str | None
    of: Sequence[str]
    at: str


@dataclass(frozen=True)
class State:
    """The library after its `number`-th change; number 0 is a library that is not there yet."""

    number: int = 0
    holder: Holder | None = None
    nights: Sequence[Night] = ()
    compactions: Sequence[Compaction] = ()

    @property
    def open_night(self) -> Night | None:
        """The night that was begun and not finished."""
        return next((night for night in self.nights if night.state == "open"), None)

    @property
    def index_keys(self) -> list[str]:
        """The index files that hold all nights, oldest night first."""
        return self._newest([*(each.index for each in self.compactions), *(each.index for each in self.nights)])

    @property
    def registry_keys(self) -> list[str]:
        """The files of identifiers of all nights, oldest night first."""
        return self._newest([*(each.registry for each in self.compactions), *(each.registry for each in self.nights)])

    @property
    def fingerprinted(self) -> list[str]:
        """What names the content of the library: the index files of its nights, folded or not."""
        return [night.index for night in self.nights if night.index is not None]

    def _newest(self, keys: Sequence[str | None]) -> list[str]:
        folded = {key for compaction in self.compactions for key in compaction.of}
        return [key for key in keys if key is not None and key not in folded]


def read_state(store: Store) -> State:
    """The newest state of the library below `store`."""
    names = [STATE_KEY.search(entry.key) for entry in store.listing("ledger")]
    newest = max((int(name[1]) for name in names if name), default=0)
    return _parse(store.read(state_key(newest))) if newest else State()


def append_state(store: Store, state: State) -> None:
    """Write the next state. Raises Overtaken where its number is taken."""
    data = json.dumps(asdict(state), indent=1).encode()
    # After a lost answer the retried request finds the state that it wrote itself.
    if not store.put_new(state_key(state.number), data) and store.read(state_key(state.number)) != data:
        raise Overtaken(f"{store.url(state_key(state.number))} was written by somebody else")


def state_of_library(library: Store) -> State:
    """The newest state. Raises InvalidJob where no library is."""
    state = read_state(library)
    if not state.number:
        raise InvalidJob(f"{library.url('')}: no library is here; expected ledger/ below it")
    return state


def is_library(store: Store) -> bool:
    """Whether a library is below `store`."""
    return read_state(store).number > 0


def state_key(number: int) -> str:
    """The key of a state below the library."""
    return f"ledger/{number:010d}.json"


def _parse(data: bytes) -> State:
    document = json.loads(data)
    holder = Holder(**document["holder"]) if document["holder"] else None
    nights = tuple(Night(**night) for night in document["nights"])
    compactions = tuple(Compaction(**each) for each in document.get("compactions", []))  # earlier versions have none
    return State(document["number"], holder, nights, compactions)
