"""Why an object has no mask: a stage, a reason code, a message for people, and whether trying again can help."""

from __future__ import annotations

from dataclasses import dataclass

# reason: (stage, retryable). Retryable are failures that go away when storage, memory or code change, with the same
# clicks and the same image bytes; `label --retry-failed` works on those only.
REASONS: dict[str, tuple[str, bool]] = {
    "bad_coordinate": ("clicks", False),
    "bad_label": ("clicks", False),
    "duplicate_click": ("clicks", False),  # of earlier versions: the same click twice counts once now
    "two_categories": ("clicks", False),
    "no_foreground": ("clicks", False),
    "bad_box": ("clicks", False),
    "two_boxes": ("clicks", False),
    "image_outside_root": ("clicks", False),
    "skipped": ("clicks", False),
    "image_missing": ("fetch", True),
    "image_forbidden": ("fetch", True),
    "image_unreadable": ("fetch", True),
    "image_unavailable": ("fetch", True),
    "image_too_many_bytes": ("fetch", False),
    "image_too_many_pixels": ("decode", False),
    "image_undecodable": ("decode", False),
    "image_unsupported": ("decode", False),
    "click_outside": ("segment", False),
    "box_outside": ("segment", False),
    "empty_mask": ("segment", False),
    "device_memory": ("segment", True),
    "out_of_memory": ("segment", True),
    "internal": ("segment", True),
    "device_failed": ("worker", True),
    "worker_crash": ("worker", False),
    "worker_stuck": ("worker", False),
}


@dataclass(frozen=True)
class Failure:
    """One error row: `reason` is a key of REASONS, `message` names what was found and what is allowed."""

    reason: str
    message: str

    def __post_init__(self) -> None:
        if self.reason not in REASONS:
            raise ValueError(f"unknown reason {self.reason!r}; allowed: {', '.join(REASONS)}")

    @property
    def stage(self) -> str:
        """Where the object failed: clicks, fetch, decode, segment or worker."""
        return REASONS[self.reason][0]

    @property
    def retryable(self) -> bool:
        """Whether the same clicks on the same image may succeed later."""
        return REASONS[self.reason][1]


class BadImage(Exception):
    """An image that cannot be labelled, through no fault of the store or the worker."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
