"""The nightly configuration: a job whose output is a library, and how the library grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, Field

from pipeline.config import STRICT, InvalidJob, Job, load_job, parse_job, placed_paths
from pipeline.storage.store import Store


class Growth(BaseModel):
    """The keys of nightly.yaml that job.yaml does not have.

    Attributes:
        library: the root of the library.
        relabel: "changed-inputs" labels objects again whose clicks or image changed; "changed-settings" also those
            that were labelled with another backbone, other weights or other settings.
        lease_expires_s: seconds without a heartbeat after which another driver may take over.
        allow_storage_that_replaces: use storage that does not honour create-if-absent. There no lease is safe: see to
            it yourself that no two nights run at once.
    """

    model_config = STRICT

    library: Annotated[str, Field(min_length=1)]
    relabel: Literal["changed-inputs", "changed-settings"] = "changed-inputs"
    lease_expires_s: Annotated[float, Field(ge=1)] = 300.0
    allow_storage_that_replaces: bool = False


class Nightly(BaseModel):
    """What every night does. `job.output` is the library's root; each night gets its own folder below it."""

    model_config = STRICT

    growth: Growth
    job: Job

    @property
    def store(self) -> Store:
        """The library."""
        return Store(self.growth.library, self.job.storage)


def load_nightly(path: str | Path) -> Nightly:
    """Read nightly.yaml: a job.yaml's keys, paths as there, with `library` instead of `output`. Raises InvalidJob."""
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidJob(f"{path}: there is no such nightly file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidJob(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise InvalidJob(f"{path}: found {type(document).__name__}, expected a mapping of keys such as library, clicks")
    return parse_nightly(document, str(path), placed_paths(document, path))


def load_job_or_nightly(path: str | Path, overrides: Sequence[str] = ()) -> Job | Nightly:
    """What the file is: a nightly configuration where it has `library`, else a job. Raises InvalidJob."""
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        document = None  # load_job says what is wrong with it
    if not isinstance(document, dict) or "library" not in document:
        return load_job(path, overrides)
    if overrides:
        raise InvalidJob(f"{path}: found overrides {', '.join(overrides)}; a nightly takes none, edit the file")
    return load_nightly(path)


def parse_nightly(document: dict[str, Any], source: str, as_written: Mapping[str, str] | None = None) -> Nightly:
    """Validate a nightly configuration that is already a mapping; `source` names it in errors. Raises InvalidJob."""
    if "output" in document:
        raise InvalidJob(f"{source}: output: found {document['output']!r}; a nightly has `library` instead")
    own = {key: value for key, value in document.items() if key in Growth.model_fields}
    try:
        growth = Growth.model_validate(own)
    except pydantic.ValidationError as error:
        raise InvalidJob("\n".join(_line(source, problem) for problem in error.errors())) from None
    rest = {key: value for key, value in document.items() if key not in own}
    return Nightly(growth=growth, job=parse_job(rest | {"output": growth.library}, source, as_written))


def _line(source: str, problem: Any) -> str:
    key = str(problem["loc"][0])
    if problem["type"] == "missing":
        return f"{source}: {key}: this key is required"
    return f"{source}: {key}: found {problem['input']!r}; {problem['msg']}"
