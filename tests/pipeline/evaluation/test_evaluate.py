"""An evaluation without Ray: its numbers are the protocol's, it resumes to the same ones, and it compares."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from m2n2 import Scene
from m2n2.backbones import load_backbone
from m2n2.evaluation import ClickRule, click_objects, summarise
from pipeline.config import Job, parse_job
from pipeline.evaluation.against import compare_objects, comparison_text
from pipeline.evaluation.evaluate import Request, click_here, evaluate
from pipeline.evaluation.methods import make_method
from pipeline.evaluation.page import curve, page, table, text_table
from pipeline.evaluation.results import read_objects
from pipeline.evaluation.truths import InvalidTruth, TruthData, TruthImage, find_truths
from pipeline.plan import PlanMismatch
from pipeline.storage.store import Store
from tests.pipeline.evaluation.data import write_folders

REQUEST = Request(ClickRule(), cap=3)


@pytest.fixture
def data(tmp_path: Path) -> TruthData:
    write_folders(tmp_path / "data")
    return find_truths(Store(str(tmp_path / "data")))


def job_of(tmp_path: Path, name: str = "out", **more: Any) -> Job:
    places = {"images": str(tmp_path / "data"), "clicks": "none", "output": str(tmp_path / name)}
    return parse_job(places | {"backbone": {"name": "colour", "grid": 12}, "workers": {"gpus": 0}} | more, "test")


def run(job: Job, data: TruthData, request: Request = REQUEST, stop_after: int = 1000) -> Any:
    def click(images: Sequence[TruthImage]) -> Iterator[str]:
        for number, key in enumerate(click_here(job, request, data, make_method(job, request.method), images), 1):
            yield key
            if number == stop_after:
                raise KeyboardInterrupt

    return evaluate(job, request, data, click)


def test_its_sessions_are_those_of_the_scene(data: TruthData, tmp_path: Path) -> None:
    found = run(job_of(tmp_path), data)
    image = data.images[1]
    pixels = np.asarray(Image.open(tmp_path / "data" / image.key))
    scene = Scene(pixels, load_backbone("colour", grid=12).attention(pixels))
    for each in image.objects:
        truth = data.mask(image, each, (40, 56))
        (expected,) = click_objects(lambda prompts: [m.mask for m in scene.segment(prompts)], [truth], ClickRule(), 3)
        assert found[image.key, each.name].clicks == expected.clicks
        assert found[image.key, each.name].ious == expected.ious
    assert len(found) == 6


def test_stopped_half_way_it_resumes_to_the_same_numbers(data: TruthData, tmp_path: Path) -> None:
    whole = run(job_of(tmp_path, "whole"), data)
    broken = job_of(tmp_path, "broken")
    with pytest.raises(KeyboardInterrupt):
        run(broken, data, stop_after=1)
    assert not broken.output_store.exists("objects.parquet")
    (first,) = (entry for entry in broken.output_store.listing("results/"))
    resumed = run(broken, data)
    assert [entry.etag for entry in broken.output_store.listing("results/") if entry.key == first.key] == [first.etag]
    assert {name: (each.clicks, each.ious) for name, each in resumed.items()} == {
        name: (each.clicks, each.ious) for name, each in whole.items()
    }


def run_until_killed(folder: Path) -> None:
    data, job = find_truths(Store(str(folder / "data"))), job_of(folder, "killed")

    def click(images: Sequence[TruthImage]) -> Iterator[str]:
        for key in click_here(job, REQUEST, data, make_method(job, REQUEST.method), images):
            os.kill(os.getpid(), signal.SIGKILL)
            yield key

    evaluate(job, REQUEST, data, click)


def test_a_killed_process_is_resumed_to_the_same_numbers(data: TruthData, tmp_path: Path) -> None:
    code = (
        f"from pathlib import Path; from {__name__} import run_until_killed; run_until_killed(Path({str(tmp_path)!r}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False)
    assert ended.returncode == -signal.SIGKILL
    killed = job_of(tmp_path, "killed")
    assert len(list(killed.output_store.listing("results/"))) == 1
    resumed, whole = run(killed, data), run(job_of(tmp_path, "whole"), data)
    assert {name: (each.clicks, each.ious) for name, each in resumed.items()} == {
        name: (each.clicks, each.ious) for name, each in whole.items()
    }


def test_results_of_other_settings_are_not_mixed(data: TruthData, tmp_path: Path) -> None:
    run(job_of(tmp_path), data)
    with pytest.raises(PlanMismatch, match=r"evaluation.json belongs to another evaluation; settings differ"):
        run(job_of(tmp_path, settings={"temperature": 0.5}), data)
    with pytest.raises(PlanMismatch, match="request differ"):
        run(job_of(tmp_path), data, Request(ClickRule(noise=0.5), cap=3))


@pytest.mark.parametrize("method", ["grabcut", "random_walker"])
def test_peers_get_the_same_clicks_and_find_drawn_objects(data: TruthData, tmp_path: Path, method: str) -> None:
    pytest.importorskip("cv2" if method == "grabcut" else "skimage")
    summary = summarise(list(run(job_of(tmp_path), data, Request(ClickRule(), 3, method=method)).values()), 3)
    assert summary.iou[3] > 0.8


def test_together_all_objects_of_an_image_go_into_one_call(data: TruthData, tmp_path: Path) -> None:
    exclusive = {"settings": {"objects": "exclusive"}}
    together = run(job_of(tmp_path, **exclusive), data, Request(ClickRule(), 3, together=True))
    alone = run(job_of(tmp_path, "alone", **exclusive), data)
    assert together.keys() == alone.keys()
    assert {name: each.clicks[0] for name, each in together.items()} == {n: e.clicks[0] for n, e in alone.items()}
    assert any(together[name].ious != alone[name].ious for name in alone)  # only together do they exclude each other


def test_two_evaluations_of_the_same_objects_are_compared(data: TruthData, tmp_path: Path) -> None:
    run(job_of(tmp_path), data)
    run(job_of(tmp_path, "raw", settings={"map": "attention"}), data)
    before, now = (read_objects(Store(str(tmp_path / name))) for name in ("out", "raw"))
    compared = compare_objects(before, now)
    mean, found = compared["iou1"]
    assert mean == pytest.approx(np.mean([row["iou1"] for row in before]))
    assert mean + found.difference == pytest.approx(np.mean([row["iou1"] for row in now]))
    assert "iou1" in comparison_text(compared)
    assert compare_objects(before, before)["clicks90"][1].p_value == 1.0
    with pytest.raises(InvalidTruth, match="different objects"):
        compare_objects(before, now[:-1])


def test_people_get_a_table_a_curve_and_a_page(data: TruthData, tmp_path: Path) -> None:
    import xml.etree.ElementTree as ElementTree

    sessions = list(run(job_of(tmp_path), data).values())
    rows = table({"a & b": summarise(sessions, 3)})
    assert text_table(rows).splitlines()[0].split()[:2] == ["objects", "NoC85"]
    assert rows[1][:2] == ["a & b", "6"]
    svg = curve({"a & b": sessions}, 3)
    lines = ElementTree.fromstring(svg).findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [3]
    assert "<td>a &amp; b</td>" in page("title", rows, svg, ["said"])
