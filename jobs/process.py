"""What surrounds a command: names that are not ASCII, pipes that break, and an end that no thread can spoil."""

from __future__ import annotations

import atexit
import io
import logging
import os
import sys
from contextlib import suppress
from typing import TextIO


def speak_utf8() -> None:
    """Start this command again in Python's UTF-8 mode where the locale's encoding is another one.

    Names of files and objects are UTF-8 wherever they come from. Python takes the encoding of file names from the
    locale, once, when it starts; workers of a Ray of our own inherit the mode.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    if isinstance(sys.stdout, io.TextIOWrapper):  # whose encoding may still be another, by PYTHONIOENCODING
        sys.stdout.reconfigure(errors="backslashreplace")


def write(stream: TextIO, text: str) -> None:
    """Write a line; where nobody reads any more (`m2n2 ... | head -1`), this line and all later ones go nowhere."""
    try:
        stream.write(text + "\n")
        stream.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class Ending:
    """Ends this process with `code` after the last exit handler, before the interpreter is taken apart.

    Arrow's threads may still hold buffers of Python at that moment. The thread that lets go of one then is ended by the
    interpreter inside a destructor, and C++ ends the process for that: "terminate called without an active exception",
    exit code 134, after everything was done and said. Other libraries' threads are no different.
    """

    def __init__(self) -> None:
        self.code = 1  # of an exception that nobody caught
        atexit.register(self._end)  # exit handlers run last in, first out: every library's comes before this one

    def _end(self) -> None:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(self.code)
