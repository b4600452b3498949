"""Exports read back: what number everything has, and what is shown of it."""

from __future__ import annotations

import json


def placed(coco: bytes) -> dict[str, object]:
    """Every category, image and annotation of a COCO file by name: its identifier, and for annotations all else too."""
    document = json.loads(coco)
    names = {image["id"]: image["file_name"] for image in document["images"]}
    found: dict[str, object] = {f"category {each['name']}": each["id"] for each in document["categories"]}
    found |= {f"image {name}": number for number, name in names.items()}
    for each in document["annotations"]:
        key = f"object {names[each['image_id']]} {each['object']}"
        assert key not in found, f"{key} was exported twice"
        found[key] = each
    assert len({each["id"] for each in document["annotations"]}) == len(document["annotations"])
    return found
