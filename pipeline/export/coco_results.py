"""COCO results: a bare array of masks with scores, which `COCO.loadRes` reads beside a file of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.export.files import Folder, JsonFile, dump
from pipeline.export.format import Options
from pipeline.export.masks import MaskedImage, Reading


class CocoResults:
    """One array of results. Without boxes: `loadRes` would take their areas for the masks'."""

    images_below: str | None = None

    def __init__(self, folder: Folder, options: Options, name: str | None = None) -> None:
        self._folder, self._name = folder, name or "results.json"
        self._file = JsonFile(folder, ["results"])

    def add(self, image: MaskedImage, pixels: bytes | None) -> None:
        """See Format."""
        if not image.masks:
            self._folder.lost["images without a mask have no result"] += 1
        for mask in image.masks:
            result = {
                "image_id": image.id,
                "category_id": mask.category_id,
                "segmentation": mask.rle,
                "score": mask.score,
                "object": mask.object,
                "clicks": mask.clicks,
            }
            self._file.add("results", dump(result))

    def piece(self) -> Mapping[str, bytes]:
        """See InPieces."""
        return self._file.piece()

    def join(self, piece: Mapping[str, bytes]) -> None:
        """See InPieces."""
        self._file.join(piece)

    def finish(self, reading: Reading) -> Sequence[str]:
        """See Format."""
        if reading.shown:
            self._folder.lost[
                "masks without their identifiers, loadRes counts anew; categories and sizes of images stand "
                "in coco's file"
            ] += reading.shown
        return [self._folder.put_file(self._name, self._file.assembled())]
