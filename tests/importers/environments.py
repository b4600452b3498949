"""Environments of other tools' importers, each made once and kept."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

INSTALL_S = 1800


@dataclass(frozen=True)
class Environment:
    """Tools that can be installed beside each other.

    Attributes:
        packages: for pip; none: the environment that this runs in.
        alone: packages that are installed without what they require.
    """

    name: str
    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()


class Pythons:
    """The Pythons of environments, each made where it is not there; `spent_s`: how long that took."""

    def __init__(self, home: Path) -> None:
        self._home, self.spent_s = home, 0.0
        self._failed: dict[Environment, subprocess.CalledProcessError | subprocess.TimeoutExpired] = {}

    def of(self, environment: Environment) -> Path:
        """An environment's Python.

        Raises:
            CalledProcessError, TimeoutExpired: it cannot be set up, which is tried once.
        """
        if not environment.packages:
            return Path(sys.executable)
        home = self._home / environment.name
        if not (home / ".ready").exists():
            if environment in self._failed:
                raise self._failed[environment]
            began = time.monotonic()
            try:
                _set_up(environment, home)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                self._failed[environment] = error
                raise
            finally:
                took = time.monotonic() - began
                self.spent_s += took
                say(f"{environment.name}: {took:.0f} s to set up")
        return home / "bin" / "python"


def _set_up(environment: Environment, home: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--prefer-binary"]
    # The pip that comes with Python takes several times as long to find versions that go together.
    subprocess.run([*pip, "--upgrade", "pip"], check=True, timeout=INSTALL_S)
    subprocess.run([*pip, *environment.packages], check=True, timeout=INSTALL_S)
    if environment.alone:
        subprocess.run([*pip, "--no-deps", *environment.alone], check=True, timeout=INSTALL_S)
    (home / ".ready").touch()


def say(line: str) -> None:
    """A line that is seen at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
