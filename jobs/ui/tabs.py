"""The browser tabs that show one page: one of them writes, the others are told, and may take over."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Tab:
    """An open tab; `events` are what it has to be told."""

    name: str
    events: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)


class Tabs:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._open: list[Tab] = []
        self.writer: str | None = None

    def join(self, name: str) -> Tab:
        """A tab was opened, or is there again; the first one writes."""
        tab = Tab(name)
        self._open.append(tab)
        if self.writer is None:
            self.writer = name
        self._tell(tab)
        return tab

    def leave(self, tab: Tab) -> None:
        """A tab was closed; if it was the one that writes, the one that is open longest does now."""
        self._open.remove(tab)
        if self.writer == tab.name and not any(each.name == tab.name for each in self._open):
            self.take_over(self._open[0].name if self._open else None)

    def take_over(self, name: str | None) -> None:
        """Another tab writes from now on; all are told."""
        self.writer = name
        for each in self._open:
            self._tell(each)

    def _tell(self, tab: Tab) -> None:
        tab.events.put_nowait({"type": "role", "writes": tab.name == self.writer})
