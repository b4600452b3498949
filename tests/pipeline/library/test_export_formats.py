"""Every format of a library of several nights holds what that format holds of one night over the same clicks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobs.cli import main
from pipeline.export.one_pass import FORMATS
from pipeline.storage.store import Store
from tests.jobs.site import FakeLabeller, Site

# What may differ: when, by which run, from which parts.
ORIGIN = re.compile(
    rb"""[0-9a-f]{12,}
    | \d{4}-\d\d-\d\d[T\ ]\d\d:[\d:.+Z]+
    | "provenance":\s*\[.*?\]
    | origin["=:>\s]+(?:\d+|\[[\d,\s]*\])""",
    re.VERBOSE | re.DOTALL,
)

FIRST = {("a.jpg", "x"): 10.0, ("b.jpg", "x"): 20.0, ("b.jpg", "y"): 30.0}
SECOND = {("b.jpg", "x"): 25.0, ("c.jpg", "x"): 40.0}


def exported(site: Site, target: Path) -> dict[str, bytes]:
    """Every file of an export in all formats, without its origin."""
    assert main(["export", site.library.root, "--format", ",".join(FORMATS), "--to", str(target)]) == 0
    files = (path for path in sorted(target.rglob("*")) if path.is_file())
    return {str(path.relative_to(target)): ORIGIN.sub(b"#", path.read_bytes()) for path in files}


def test_every_format_of_two_nights_is_that_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labeller = FakeLabeller(monkeypatch)
    twice, once = (Site(Store(str(tmp_path / name)), labeller) for name in ("twice", "once"))
    for site in (twice, once):
        site.photos("a.jpg", "b.jpg", "c.jpg")
    twice.clicks("2026-09-01", FIRST)
    twice.night("2026-09-01")
    twice.clicks("2026-09-02", SECOND)
    twice.night("2026-09-02")
    assert sorted(twice.labeller.labelled) == sorted(SECOND), "only what is new"
    once.clicks("2026-09-02", FIRST | SECOND)
    once.night("2026-09-02")

    several, one = exported(twice, tmp_path / "several"), exported(once, tmp_path / "one")
    assert {name.partition("/")[0] for name in several} >= set(FORMATS), "each has its folder"
    assert sorted(several) == sorted(one)
    for name, data in several.items():
        assert data == one[name], name
