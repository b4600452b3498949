"""CVAT for images 1.1: XML whose masks are runs along the rows of a crop; beside it COCO, ready for a task."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

from m2n2.kernels.run_lengths import row_runs
from pipeline.export.coco import Coco
from pipeline.export.files import Folder
from pipeline.export.format import Options
from pipeline.export.masks import Mask, MaskedImage, Reading

XML = "xml"  # of a piece: the images of annotations.xml
ATTRIBUTES = ("object", "score", "origin", "clicks")
NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-�\U00010000-\U0010ffff]")


class Cvat:
    """`annotations.xml`, `labels.json` to make the task's labels of, and `annotations/instances_default.json`."""

    images_below: str | None = "images/"

    def __init__(self, folder: Folder, options: Options) -> None:
        self._folder = folder
        self._coco = Coco(folder, Options(layout="annotations"))
        self._images = folder.new_file()
        self._file = self._images.open("a", encoding="utf-8")

    def add(self, image: MaskedImage, pixels: bytes | None) -> None:
        """See Format."""
        self._coco.add(image, pixels)
        size = f'width="{image.width}" height="{image.height}"'
        self._file.write(f'  <image id="{image.id}" name={self._quoted(image.key)} {size}>\n')
        for mask in image.masks:
            self._file.write(self._mask(mask))
        self._file.write("  </image>\n")

    def piece(self) -> Mapping[str, bytes]:
        """See InPieces."""
        self._file.flush()
        return {XML: self._images.read_bytes(), **self._coco.piece()}

    def join(self, piece: Mapping[str, bytes]) -> None:
        """See InPieces."""
        self._file.flush()
        with self._images.open("ab") as images:
            images.write(piece[XML])
        self._coco.join(piece)

    def finish(self, reading: Reading) -> Sequence[str]:
        """See Format."""
        self._file.close()
        path = self._folder.new_file()
        with path.open("w", encoding="utf-8") as file, self._images.open(encoding="utf-8") as images:
            file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
            file.write(self._meta(reading))
            for line in images:
                file.write(line)
            file.write("</annotations>\n")
        self._images.unlink()
        self._folder.put_file("annotations.xml", path)
        attributes = [
            {"name": name, "mutable": False, "input_type": "text", "default_value": "", "values": [""]}
            for name in ATTRIBUTES
        ]
        labels = [{"name": name, "type": "mask", "attributes": attributes} for name in reading.labels.categories]
        self._folder.put("labels.json", json.dumps(labels, indent=1, ensure_ascii=False).encode())
        self._coco.finish(reading)
        return [self._folder.address]

    def _mask(self, mask: Mask) -> str:
        height, width = mask.crop.shape
        runs = ", ".join(map(str, row_runs(mask.crop).tolist()))
        values = (mask.object, mask.score, mask.origin, mask.clicks or "")
        attributes = "".join(
            f'      <attribute name="{name}">{escape(self._clean(str(value)))}</attribute>\n'
            for name, value in zip(ATTRIBUTES, values, strict=True)
        )
        return (
            f'    <mask label={self._quoted(mask.category)} source="auto" occluded="0" rle="{runs}" left="{mask.left}" '
            f'top="{mask.top}" width="{width}" height="{height}" z_order="0">\n{attributes}    </mask>\n'
        )

    def _meta(self, reading: Reading) -> str:
        attributes = "".join(
            f"<attribute><name>{name}</name><mutable>False</mutable><input_type>text</input_type>"
            "<default_value></default_value><values></values></attribute>"
            for name in ATTRIBUTES
        )
        labels = "".join(
            f"      <label><name>{escape(self._clean(name))}</name><type>mask</type>"
            f"<attributes>{attributes}</attributes></label>\n"
            for name in reading.labels.categories
        )
        return f"  <meta><task>\n    <labels>\n{labels}    </labels>\n  </task></meta>\n"

    def _quoted(self, text: str) -> str:
        return quoteattr(self._clean(text))

    def _clean(self, text: str) -> str:
        clean, number = NOT_XML.subn("�", text)
        self._folder.lost.update({"characters in names cannot stand in XML": number} if number else {})
        return clean
