"""What Ray is told of metrics, as a scrape of its endpoint would show it; no Ray."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

Labels = frozenset[tuple[str, str]]
Scrape = dict[str, dict[Labels, float]]  # the value of each series, by name and labels


@pytest.fixture
def scraped(monkeypatch: pytest.MonkeyPatch) -> Scrape:
    """What Ray was told, under the names by which its endpoint serves it."""
    found: Scrape = {}

    def record(self: Any, value: float, tags: Mapping[str, str] | None = None) -> None:
        counter = type(self).__name__ == "Counter"
        series = found.setdefault(f"ray_{self.info['name']}{'_total' if counter else ''}", {})
        labels = frozenset({"SessionName": "s", **self.info["default_tags"], **(tags or {})}.items())
        series[labels] = value + (series.get(labels, 0.0) if counter else 0.0)

    monkeypatch.setattr("ray.util.metrics.Metric._record", record)
    return found
