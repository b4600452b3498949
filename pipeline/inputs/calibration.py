"""A user's own calibration of scores: the file that `m2n2 calibrate` writes and a job names."""

from __future__ import annotations

import json
from typing import Any

from m2n2.confidence.built_in import BUILT_IN_OF
from m2n2.confidence.calibration import InvalidCalibration, parse_calibration
from pipeline.config import InvalidJob
from pipeline.describe import describe
from pipeline.storage.filesystem import Storage
from pipeline.storage.store import Store


def read_calibration(address: str, storage: Storage) -> dict[str, Any]:
    """What the file says that decides scores, as JSON values. Raises InvalidJob, which names the file."""
    store = Store("", storage)
    try:
        document = json.loads(store.read(address))
    except FileNotFoundError:
        raise InvalidJob(f"calibration: {address}: there is no such file; `m2n2 calibrate` writes one") from None
    except (ValueError, OSError) as error:
        raise InvalidJob(f"calibration: {address}: not readable as JSON: {describe(error)}") from error
    version = document.get("score_version") if isinstance(document, dict) else None
    if version not in BUILT_IN_OF:  # those that are made of evidence, all of the same
        raise InvalidJob(
            f"calibration: {address}: score_version: found {version!r}, allowed: "
            f"{', '.join(map(str, BUILT_IN_OF))}; fit it anew with `m2n2 calibrate`"
        )
    try:
        return parse_calibration(document).as_plain()
    except InvalidCalibration as error:
        raise InvalidJob(f"calibration: {address}: {error}") from None
