"""`m2n2 init`: a first job file, with every choice that people change first explained in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from jobs.console import say
from jobs.exit_codes import COMPLETE

JOB = """\
# What to label. Paths are relative to this file; addresses such as s3://bucket/photos/ work in all three places.
images: {images}  # the folder that `image` in the clicks is looked up in
clicks: {clicks}  # Parquet, a row a click: image, object, x, y, and if you like label, category
output: {output}  # masks go to export/coco/instances.json below it; started again, a run goes on where it was

# The small DINOv2 runs without a GPU. First: m2n2 weights fetch dinov2-small
backbone: {{name: dinov2, weights: dinov2-small, grid: 64}}
workers: {{gpus: 0, cpus: {cpus}}}

# The paper's model, on GPUs, in place of the two lines above. First: m2n2 weights fetch sd2
#backbone: {{name: sd2, weights: sd2, dtype: float16, grid: 128}}
#workers: {{gpus: 1, cpus: 4}}

# More keys, with their defaults. All of them: docs/running.md
#shard_images: auto
#orientation: stored
#storage: {{endpoint_url: null, region: null, anonymous: false}}
#limits: {{max_failed_share: 0.05, max_image_pixels: 100000000}}
"""


def init(
    job: Annotated[Path, typer.Argument(metavar="JOB.yaml")] = Path("job.yaml"),
    images: Annotated[str, typer.Option(metavar="PATH", help="folder or address of the images")] = "photos/",
    clicks: Annotated[
        str, typer.Option(metavar="PATH", help="file, address or pattern of the clicks")
    ] = "clicks.parquet",
    output: Annotated[str, typer.Option(metavar="PATH", help="where the masks go")] = "labels/",
) -> int:
    """Write a commented job file that runs as it stands.

    Example: m2n2 init --images photos/ --clicks clicks.parquet --output labels/
    """
    from pipeline.config import InvalidJob

    paths = {key: _as_seen_from(job.parent, path) for key, path in [("images", images), ("clicks", clicks)]}
    text = JOB.format(**paths, output=_as_seen_from(job.parent, output), cpus=min(2, os.cpu_count() or 1))
    try:
        with job.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InvalidJob(f"{job}: is there already, and is left as it is; allowed: a new name") from None
    except OSError as error:
        raise InvalidJob(f"{job}: cannot be written: {error.strerror}") from error
    say(f"{job} written; next: m2n2 plan {job}, m2n2 label {job}")
    return COMPLETE


def _as_seen_from(folder: Path, path: str) -> str:
    """A path that was typed here, as it has to stand in a file of `folder`; quoted where YAML needs it."""
    if "://" not in path and not path.startswith(("/", "~", "$")) and folder.resolve() != Path.cwd():
        slash = "/" if path.endswith("/") else ""
        path = os.path.relpath(path, folder) + slash
    return path if path.replace("/", "").replace(".", "").replace("-", "").isalnum() else json.dumps(path)
