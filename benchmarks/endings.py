"""How processes end: every command many times beside others that keep the machine busy; a code of its own is a fault.

    python -m benchmarks.endings --runs 200

A native thread that touches Python while the interpreter is taken apart ends the process with SIGABRT (-6 here, 134 in
a shell) after everything was done and said, in one run of forty on a busy machine of two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from pipeline.storage.store import Store
from tests.pipeline.make_data import put_dataset

BURN = "while True: pass"
RUN = "{run}"


def main() -> None:
    """Label a small job once, then run every command on it and print how many ended with which code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--busy", type=int, default=os.cpu_count() or 1, help="processes that keep the machine busy")
    parser.add_argument("--only", nargs="*", help="commands, such as status export")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="m2n2-endings-") as name:
        commands = _commands(Path(name))
        for first in ("label", "nightly"):  # what the others look at
            ended = subprocess.run(_command(commands[first]), capture_output=True, text=True, check=False)
            assert ended.returncode == 0, f"{first} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}"
        burners = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(options.busy)]
        try:
            for command in options.only or commands:
                began = time.monotonic()
                codes = Counter(_run(commands[command], number) for number in range(options.runs))
                seconds = (time.monotonic() - began) / options.runs
                print(f"{command:15} {dict(codes)}  {seconds:.1f} s a run", flush=True)
        finally:
            for burner in burners:
                burner.kill()


def _commands(here: Path) -> Mapping[str, Sequence[str]]:
    """Commands that end by themselves within seconds: on work that is done, and on input that is wrong."""
    document = put_dataset(Store(str(here)), images=4)
    job, nightly = here / "job.yaml", here / "nightly.yaml"
    job.write_text(yaml.safe_dump(document))
    night = {key: value for key, value in document.items() if key != "output"} | {"library": str(here / "library")}
    nightly.write_text(yaml.safe_dump(night))
    labels = str(here / "labels")
    return {
        "status": ["status", labels],
        "export": ["export", labels, "--to", str(here / "copy.json")],
        "export-library": ["export", str(here / "library"), "--to", str(here / "library.json")],
        "plan": ["plan", str(job)],
        "nightly": ["nightly", str(nightly)],
        "check-backbone": ["check-backbone", "colour", "--grid", "8"],
        "wrong-status": ["status", str(here / "nowhere")],
        "wrong-job": ["label", str(job), "clicks=nowhere.parquet"],
        "wrong-weights": ["weights", "fetch", "nothing-of-this-name"],
        "label": ["label", str(job)],
        # Each with a Ray of its own, from nothing to the last mask.
        "label-anew": ["label", str(job), f"output={here}/labels-{RUN}"],
        "nightly-anew": ["nightly", str(nightly), f"library={here}/library-{RUN}"],
    }


def _run(arguments: Sequence[str], number: int) -> int:
    """Run a command once; what it said goes to the terminal where its code is not one of ours."""
    command = _command([argument.replace(RUN, str(number)) for argument in arguments])
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode not in range(4) or "Traceback" in ended.stderr:
        print(f"{' '.join(arguments)}, run {number}, ended with {ended.returncode}:\n{ended.stderr}", flush=True)
    return ended.returncode


def _command(arguments: Sequence[str]) -> Sequence[str]:
    return [sys.executable, "-m", "jobs.cli", *arguments]


if __name__ == "__main__":
    main()
