"""Many small objects for the S3 server of the tests in little time: unsigned, to its interface of files.

A client of S3 takes several milliseconds of CPU an object, which for 100,000 parts is longer than what is measured.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.client import HTTPConnection
from urllib.parse import quote, urlsplit

_of_thread = threading.local()


@dataclass(frozen=True)
class UnsignedPuts:
    """Puts objects below `folder_url`, an address of the server's files; every thread keeps one connection."""

    folder_url: str

    def __call__(self, key: str, data: bytes) -> None:
        """Create an object. Raises OSError where the server does not."""
        folder = urlsplit(self.folder_url)
        if not hasattr(_of_thread, "connection"):
            _of_thread.connection = HTTPConnection(folder.netloc, timeout=60)
        _of_thread.connection.request("PUT", f"{folder.path}/{quote(key)}", data)
        answer = _of_thread.connection.getresponse()
        said = answer.read()
        if answer.status not in (200, 201):
            raise OSError(f"{self.folder_url}/{key}: {answer.status} {said[:200]!r}")
