"""Which protocols are spoken: fsspec's own, and those that a program has added to them."""

from __future__ import annotations

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.storage.filesystem import unknown_protocol


def test_a_file_system_that_a_program_has_registered_is_spoken() -> None:
    assert "added-by-a-test" in str(unknown_protocol("added-by-a-test"))
    fsspec.register_implementation("added-by-a-test", MemoryFileSystem)
    assert unknown_protocol("added-by-a-test") is None
    assert unknown_protocol("s3") is None
    assert "allowed: s3://" in str(unknown_protocol("S3"))
