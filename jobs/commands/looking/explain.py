"""`m2n2 explain`: a picture of how clicks became a mask."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.commands.options import EndpointUrl, Overrides
from jobs.console import say
from jobs.exit_codes import COMPLETE

if TYPE_CHECKING:
    from m2n2 import Prompt

ALLOWED = "allowed: x,y or x,y,0 (beside the object) or x,y,1"
KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def explain(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="a file here, or an address such as s3://...")],
    click: Annotated[
        list[str], typer.Option(metavar="x,y[,0|1]", help="a click: 1 on the object (default), 0 beside it")
    ],
    overrides: Overrides = None,
    to: Annotated[str, typer.Option(metavar="FILE", help="a .png or .jpg, here or s3://...")] = "explained.png",
    backbone: Annotated[str, typer.Option(metavar="NAME", help="such as sd2 or dinov2")] = "dinov2",
    endpoint_url: EndpointUrl = None,
) -> int:
    """Draw what each stage made of the first click, and the mask of all clicks, side by side.

    Example: m2n2 explain photo.jpg --click 180,170 --click 430,150,0 --to picture.png
    """
    import io
    from pathlib import PurePosixPath

    from m2n2.explain.picture import draw_stages
    from m2n2.explain.stages import stages_of
    from pipeline.config import InvalidJob, job_of_keys
    from pipeline.failure import BadImage
    from pipeline.storage.store import Store
    from pipeline.worker.images import decode_image
    from pipeline.worker.model import load_model

    document: dict[str, Any] = {"images": image, "clicks": image, "output": to, "workers": {"gpus": 0}}
    if endpoint_url is not None:
        document["storage"] = {"endpoint_url": endpoint_url}
    job = job_of_keys(document, [f"backbone.name={backbone}", *(overrides or [])], "explain")
    if job.settings.affinity != "attention" or job.settings.map != "markov":
        raise InvalidJob("explain: settings: the paper's head is drawn; allowed: affinity attention and map markov")
    kind = KINDS.get(PurePosixPath(to).suffix.lower())
    if kind is None:
        raise InvalidJob(f"--to: found {to!r}; allowed: a name that ends with {', '.join(KINDS)}")
    prompt = _prompt(click)
    store = Store("", job.storage)
    try:
        pixels = decode_image(store.read(image), image, job.orientation)
    except FileNotFoundError:
        raise InvalidJob(f"{image}: there is no such image") from None
    except BadImage as error:
        raise InvalidJob(error.failure.message) from error
    height, width = pixels.shape[:2]
    for x, y in prompt.points:  # here, since the stages are of a smaller copy
        if not (0 <= round(x) < width and 0 <= round(y) < height):
            raise InvalidJob(f"--click: found {x:g},{y:g}; allowed in {image}: 0..{width - 1}, 0..{height - 1}")
    stages = stages_of(pixels, load_model(job).attention(pixels), prompt, job.settings)
    sheet = io.BytesIO()
    draw_stages(stages, prompt, (width, height)).save(sheet, kind, quality=85)
    store.put(to, sheet.getvalue())
    say(to)
    return COMPLETE


def _prompt(clicks: list[str]) -> Prompt:
    from m2n2 import Prompt
    from pipeline.config import InvalidJob

    points, labels = [], []
    for text in clicks:
        words = text.split(",")
        try:
            x, y = (float(word) for word in words[:2])
            if words[2:] not in ([], ["0"], ["1"]) or not (math.isfinite(x) and math.isfinite(y)):
                raise ValueError
        except ValueError:
            raise InvalidJob(f"--click: found {text!r}; {ALLOWED}") from None
        points.append((x, y))
        labels.append(words[2:] != ["0"])
    return Prompt(points, labels)
