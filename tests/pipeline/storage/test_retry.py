"""Which failures of storage pass by themselves; real ones of real libraries are in tests/faults."""

from __future__ import annotations

import pytest

from pipeline.storage.retry import StoreUnavailable, is_transient, retried


def test_what_passes_by_itself_is_retried_and_given_up_in_time() -> None:
    answers = iter([ConnectionResetError("reset"), TimeoutError("slow"), "done"])

    def request() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retried(request, give_up_s=30, name="s3://b/k") == "done"

    def down() -> None:
        raise ConnectionRefusedError("refused")

    with pytest.raises(StoreUnavailable, match="s3://b/k: ConnectionRefusedError: refused"):
        retried(down, give_up_s=0.5, name="s3://b/k")


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (FileNotFoundError("x"), False),
        (PermissionError("x"), False),
        (FileExistsError("x"), False),
        (ValueError("x"), False),
        (ConnectionResetError("x"), True),
        (TimeoutError("x"), True),
        (OSError(16, "SlowDown"), True),
        (OSError(28, "No space left on device"), False),
    ],
)
def test_classes_of_errors(error: Exception, transient: bool) -> None:
    assert is_transient(error) is transient
