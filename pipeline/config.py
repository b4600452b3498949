"""The job: one model, validated once at the edge, equal to `job.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, field_validator

from m2n2.backbones import BUILT_IN
from m2n2.errors import InvalidSettings
from m2n2.settings import Settings
from pipeline.containers.pattern import problem_with, root_of
from pipeline.containers.source import ImageSource, image_source
from pipeline.describe import without_credentials
from pipeline.job_paths import UndefinedVariable, place_paths
from pipeline.storage.filesystem import Storage, unknown_protocol
from pipeline.storage.reach import is_link_local
from pipeline.storage.store import Store

ExportFormat = Literal[
    "coco", "coco-results", "coco-polygon", "coco-panoptic", "yolo-seg", "png", "labelstudio", "cvat", "hf"
]

STRICT = ConfigDict(frozen=True, extra="forbid")
DEFAULT_CPUS = 1.0  # a worker's


class InvalidJob(ValueError):
    """A job that cannot be run: the message names the file, the key, what was found and what is allowed."""


def _known_backbone(name: str) -> str:
    if name not in BUILT_IN and ":" not in name:
        raise ValueError(f"allowed: {', '.join(BUILT_IN)}, or package.module:callable")
    return name


def _no_credentials(address: str) -> str:
    if without_credentials(address) != address:
        raise ValueError("credentials come from the environment: in an address they would end up in logs and plans")
    return address


def _reachable(address: str) -> str:
    protocol, separator, rest = address.partition("://")
    if separator and (problem := unknown_protocol(protocol)):
        raise ValueError(problem)
    if separator and is_link_local(rest.partition("/")[0].rpartition(":")[0] or rest.partition("/")[0]):
        raise ValueError("link-local addresses are refused")
    return address


Address = Annotated[str, AfterValidator(_no_credentials), AfterValidator(_reachable)]


class Backbone(BaseModel):
    """Where attention comes from; see docs/backbones.md.

    Attributes:
        batch: images that may share a call of the network, where they come out as they do alone; "auto": as many as
            the device's memory allows.
    """

    model_config = STRICT

    name: Annotated[str, AfterValidator(_known_backbone)] = "sd2"
    weights: Address | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    grid: Annotated[int, Field(ge=2, le=512)] | None = None
    batch: Annotated[int, Field(ge=1, le=32)] | Literal["auto"] = 1
    options: dict[str, Any] = Field(default_factory=dict)


class Workers(BaseModel):
    """How many actors, and what each one takes. `count: auto` takes what the cluster has.

    Attributes:
        cpus: what Ray keeps for a worker, and threads of its CPU stages; "auto": as many as a run's images need beside
            the cluster's GPUs where that is known, see docs/backbones.md, else DEFAULT_CPUS.
    """

    model_config = STRICT

    count: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    gpus: Annotated[float, Field(ge=0)] = 1.0
    cpus: Annotated[float, Field(gt=0)] | Literal["auto"] = DEFAULT_CPUS

    @property
    def cores(self) -> float:
        """`cpus` as a number: of "auto" that no run has settled, the default."""
        return DEFAULT_CPUS if self.cpus == "auto" else self.cpus


class Limits(BaseModel):
    """What a run puts up with.

    Attributes:
        max_failed_share: the run fails (exit code 3) when a larger share of its objects failed; it stops early when
            that is so after `min_objects_before_abort` objects.
        max_removed_share: a night that would remove a larger share of its library's objects stops (exit code 3) and
            changes nothing: their click files or images may be missing by mistake.
        max_suspect_share: the run ends (exit code 3) when a larger share of its images looks wrong although nothing
            failed: turned by EXIF orientation while the job does not say `orientation`. It is judged like failures.
        max_image_bytes: larger files are not decoded.
        max_image_pixels: larger images are not decoded.
        image_timeout_s: a worker that finishes no image for so long counts as stuck and is replaced. Of an image with
            more than 30 objects or 4 megapixels it is that many times as long, and of one with both the product.
        start_timeout_s: seconds for a worker to load and check its model, from when it was placed.
        schedule_timeout_s: when for so long no node of the cluster has been large enough for one worker, the run ends
            incomplete and names what is missing. An autoscaler has to have added a node by then.
        patience_s: when nothing was finished for so long, whatever the cause, the run ends incomplete.
        drain_s: seconds that running shards get to finish after SIGTERM.
        prefetch_bytes: decoded images that wait for a worker's device, in bytes.
    """

    model_config = STRICT

    max_failed_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    max_suspect_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    min_objects_before_abort: Annotated[int, Field(ge=1)] = 500
    max_removed_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    max_image_bytes: Annotated[int, Field(ge=1)] = 200_000_000
    max_image_pixels: Annotated[int, Field(ge=1)] = 100_000_000
    image_timeout_s: Annotated[float, Field(gt=0)] = 300.0
    start_timeout_s: Annotated[float, Field(gt=0)] = 1800.0
    schedule_timeout_s: Annotated[float, Field(gt=0)] = 900.0
    patience_s: Annotated[float, Field(gt=0)] = 7200.0
    drain_s: Annotated[float, Field(ge=0)] = 60.0
    prefetch_bytes: Annotated[int, Field(ge=1)] = 512_000_000


class Job(BaseModel):
    """Everything a run needs to know; `job.yaml` with every key that may stand in it."""

    model_config = STRICT

    images: Address
    clicks: Address | list[Address]
    output: Address
    backbone: Backbone = Backbone()
    settings: Annotated[Settings, Field(default_factory=Settings)]
    workers: Workers = Workers()
    shard_images: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = "auto"
    orientation: Literal["stored", "displayed"] = "stored"
    allow_images_outside_root: bool = False
    report: bool = False
    calibration: Address | None = None
    categories: Address | None = None
    unknown_categories: Literal["refuse", "add"] = "refuse"
    storage: Annotated[Storage, Field(default_factory=Storage)]
    limits: Limits = Limits()
    export: tuple[ExportFormat, ...] = ("coco",)

    _as_written: dict[str, str] = PrivateAttr(default_factory=dict)
    _stated_settings: frozenset[str] = PrivateAttr(default=frozenset())
    _indexes_below: str | None = PrivateAttr(default=None)

    @field_validator("unknown_categories")
    @classmethod
    def _unknown_beside_known(cls, unknown: str, values: ValidationInfo) -> str:
        # What `m2n2 submit` sends states every key, with what it is by itself.
        if unknown == "add" and "categories" in values.data and values.data["categories"] is None:
            raise ValueError("it says something only beside `categories`, a file of those that are known")
        return unknown

    @field_validator("storage")
    @classmethod
    def _endpoint_without_credentials(cls, storage: Storage) -> Storage:
        _reachable(_no_credentials(storage.endpoint_url or ""))
        return storage

    @field_validator("images")
    @classmethod
    def _folder_or_tars(cls, images: str) -> str:
        if problem := problem_with(images):
            raise ValueError(problem)
        return images

    @property
    def as_written(self) -> Mapping[str, str]:
        """What stood in the file for each path that was made absolute, by key: `{"images": "photos/"}`."""
        return self._as_written

    @property
    def images_roots(self) -> Sequence[str]:
        """The images' root, absolute, and as the file has it: clicks may name images below either."""
        return list(dict.fromkeys(map(root_of, [self.images, self._as_written.get("images", self.images)])))

    @property
    def orientation_is_stated(self) -> bool:
        """Whether the job itself says on which pixels the clicks were made, so that nobody has to wonder."""
        return "orientation" in self.model_fields_set

    @property
    def states_working_pixels(self) -> bool:
        """Whether the job itself says its working size; 0.1.0 had another default."""
        return "working_pixels" in self._stated_settings

    def stated(self) -> dict[str, Any]:
        """What the job's file and overrides state: parsed again it is this job, and states no more than they."""
        document = self.model_dump(mode="json", exclude_unset=True)
        settings = {key: value for key, value in document.pop("settings", {}).items() if key in self._stated_settings}
        return document | ({"settings": settings} if settings else {})

    @property
    def click_patterns(self) -> Sequence[str]:
        """The addresses or patterns of the click files."""
        return [self.clicks] if isinstance(self.clicks, str) else self.clicks

    @property
    def output_store(self) -> Store:
        """Where the run writes."""
        return Store(self.output, self.storage)

    @property
    def image_store(self) -> Store:
        """The folder that image keys are below."""
        return Store(root_of(self.images), self.storage)

    @property
    def image_source(self) -> ImageSource:
        """What gives images by their keys; what is found out about containers is kept beside the plan.

        Of nights it is kept in their library, so that it is found out once for all of them.
        """
        return image_source(self.images, self.storage, Store(self._indexes_below or self.output, self.storage))

    def of_a_night(self, **changes: Any) -> Job:
        """This job, a library's, as one of its nights: what is kept of containers stays in the library."""
        night = self.model_copy(update=changes)
        night._indexes_below = self.output
        return night

    @property
    def image_source_for_a_look(self) -> ImageSource:
        """The same for who only looks and must not write."""
        return image_source(self.images, self.storage)


# Values that are dataclasses elsewhere (m2n2 and the store know no pydantic) refuse unknown keys here all the same.
for _value_class in (Settings, Storage):
    setattr(_value_class, "__pydantic_config__", ConfigDict(extra="forbid"))  # noqa: B010
Job.model_rebuild(force=True)


def load_job(path: str | Path, overrides: Sequence[str] = ()) -> Job:
    """Read `job.yaml`, apply `key=value` overrides (keys dotted, values YAML), validate.

    Relative paths are relative to the file's folder, those of overrides to the working directory.

    Raises:
        InvalidJob: for every way in which the file or an override is wrong, all of them in one message.
    """
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidJob(f"{path}: there is no such job file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidJob(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise InvalidJob(f"{path}: found {type(document).__name__}, expected a mapping of keys such as images, clicks")
    typed = [_apply(document, override) for override in overrides]
    return parse_job(document, source=str(path), as_written=placed_paths(document, path, typed))


def job_of_keys(document: dict[str, Any], keys: Sequence[str], source: str) -> Job:
    """A job that has no file: a mapping and `key=value` words over it. Raises InvalidJob."""
    for key in keys:
        _apply(document, key)
    return parse_job(document, source)


def placed_paths(document: dict[str, Any], path: str | Path, typed: Sequence[str] = ()) -> dict[str, str]:
    """`pipeline.job_paths.place_paths` for the file at `path`. Raises InvalidJob."""
    try:
        return place_paths(document, str(path), Path(path).parent, typed)
    except UndefinedVariable as error:
        raise InvalidJob(str(error)) from None


def parse_job(document: dict[str, Any], source: str, as_written: Mapping[str, str] | None = None) -> Job:
    """Validate a job that is already a mapping; `source` names it in errors. Raises InvalidJob."""
    try:
        job = Job.model_validate(document)
    except pydantic.ValidationError as error:
        raise InvalidJob("\n".join(_line(source, problem) for problem in error.errors())) from None
    job._as_written = dict(as_written or {})
    job._stated_settings = frozenset(document.get("settings") or ())
    return job


def _apply(document: dict[str, Any], override: str) -> str:
    """Put one override into the document; returns its key."""
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise InvalidJob(f"override {override!r}: expected key=value, such as backbone.grid=64")
    *parents, last = key.split(".")
    place = document
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise InvalidJob(f"override {override!r}: {parent} is a value, it has no keys below it")
    try:
        place[last] = yaml.safe_load(value)
        return key
    except yaml.YAMLError as error:
        raise InvalidJob(f"override {override!r}: the value is not YAML: {' '.join(str(error).split())}") from error


def _line(source: str, problem: Any) -> str:
    # Of the branches of a union pydantic names the type in brackets: no part of the key that people wrote.
    known = [
        str(part)
        for part in problem["loc"]
        if not str(part).startswith(("constrained", "literal[", "function", "list[")) and part != "int"
    ]
    key = ".".join(known)
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        allowed = ", ".join(_allowed_keys(problem["loc"][:-1]))
        return f"{source}: {key}: unknown key; allowed here: {allowed}"
    if problem["type"] == "missing":
        return f"{source}: {key}: this key is required"
    if isinstance(refused := problem.get("ctx", {}).get("error"), InvalidSettings):
        return f"{source}: {key}.{refused}"
    return without_credentials(f"{source}: {key}: found {problem['input']!r}; {problem['msg']}")


def _allowed_keys(location: Sequence[str | int]) -> list[str]:
    model: Any = Job
    for part in location:
        model = model.model_fields[str(part)].annotation
    fields = getattr(model, "model_fields", None) or model.__dataclass_fields__
    return sorted(fields)
