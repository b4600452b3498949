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

from m2n2 import Scene, Settings
from m2n2.backbones import load_backbone
from m2n2.evaluation import ClickRule, click_objects, summarise
from m2n2.scene import affinity
from pipeline.config import Job, parse_job
from pipeline.evaluation.against import compare_objects, comparison_text
from pipeline.evaluation.evaluate import Request, Work, click_here, evaluate
from pipeline.evaluation.methods import make_method
from pipeline.evaluation.page import curve, page, table, text_table
from pipeline.evaluation.results import read_objects
from pipeline.evaluation.truths import InvalidTruth, TruthData, find_truths
from pipeline.plan import PlanMismatch
from pipeline.storage.parquet import DamagedObject
from pipeline.storage.store import Store
from tests.pipeline.evaluation.data import CountedColour, write_folders

REQUEST = Request(ClickRule(), cap=3)


@pytest.fixture
def data(tmp_path: Path) -> TruthData:
    write_folders(tmp_path / "data")
    return find_truths(Store(str(tmp_path / "data")))


def job_of(tmp_path: Path, name: str = "out", **more: Any) -> Job:
    places = {"images": str(tmp_path / "data"), "clicks": "none", "output": str(tmp_path / name)}
    return parse_job(places | {"backbone": {"name": "colour", "grid": 12}, "workers": {"gpus": 0}} | more, "test")


def run(job: Job, data: TruthData, request: Request = REQUEST, stop_after: int = 1000) -> Any:
    return run_all([job], data, request, stop_after)[0]


def run_all(jobs: Sequence[Job], data: TruthData, request: Request = REQUEST, stop_after: int = 1000) -> Any:
    def click(work: Sequence[Work]) -> Iterator[str]:
        ready = make_method(jobs[0], request.method)
        for number, key in enumerate(click_here(jobs, request, data, ready, work), 1):
            yield key
            if number == stop_after:
                raise KeyboardInterrupt

    return evaluate(jobs, request, data, click)


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


GRID: list[dict[str, Any]] = [
    {"temperature": 0.5},
    {"temperature": 0.5, "markov_threshold": 0.1},
    {"temperature": 0.5, "flood_fill": False, "working_pixels": 1000},
    {"temperature": 0.9, "score": {"edge": False}},
    {"map": "attention"},
    {"affinity": "keys", "smooth": True},
    {"affinity": "keys", "more_clicks": "edit"},
    {"affinity": "keys", "key_layers": 2},
]


def test_the_cells_of_a_grid_share_a_look_at_the_image_and_the_operator_and_have_the_numbers_of_each_alone(
    data: TruthData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temperatures, layers = [], []

    def counted_operator(attention: Any, settings: Settings, **more: Any) -> Any:
        temperatures.append(settings.temperature)
        return transition_operator(attention, settings, **more)

    def counted_chain(keys: Any, settings: Settings) -> Any:
        layers.append(settings.key_layers)
        return key_chain(keys, settings)

    transition_operator, key_chain = affinity.transition_operator, affinity.key_chain
    monkeypatch.setattr(affinity, "transition_operator", counted_operator)
    monkeypatch.setattr(affinity, "key_chain", counted_chain)
    backbone = {"backbone": {"name": "tests.pipeline.evaluation.data:CountedColour", "grid": 12}}
    jobs = [job_of(tmp_path, f"cell{n}", **backbone, settings=each) for n, each in enumerate(GRID)]
    CountedColour.reads.clear()
    found = run_all(jobs, data)
    assert CountedColour.reads == ["attention", "keys 3", "keys 2"] * 3  # three images
    assert temperatures == [0.5, 0.9] * 3
    assert layers == [3, 2] * 3
    for number, (each, sessions) in enumerate(zip(GRID, found, strict=True)):
        alone = run(job_of(tmp_path, f"alone{number}", **backbone, settings=each), data)
        assert {name: (s.clicks, s.ious) for name, s in sessions.items()} == {
            name: (s.clicks, s.ious) for name, s in alone.items()
        }, each


def test_a_cell_that_has_an_images_result_does_not_click_on_it_again(data: TruthData, tmp_path: Path) -> None:
    first, second = job_of(tmp_path, "first"), job_of(tmp_path, "second", settings={"map": "attention"})
    run(first, data)
    before = {entry.key: entry.etag for entry in first.output_store.listing("results/")}
    found = run_all([first, second], data)
    assert {entry.key: entry.etag for entry in first.output_store.listing("results/")} == before
    assert len(list(second.output_store.listing("results/"))) == 3
    assert found[0].keys() == found[1].keys()


def run_until_killed(folder: Path) -> None:
    data, job = find_truths(Store(str(folder / "data"))), job_of(folder, "killed")

    def click(work: Sequence[Work]) -> Iterator[str]:
        for key in click_here([job], REQUEST, data, make_method(job, REQUEST.method), work):
            os.kill(os.getpid(), signal.SIGKILL)
            yield key

    evaluate([job], REQUEST, data, click)


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


def test_a_result_that_is_damaged_is_named(data: TruthData, tmp_path: Path) -> None:
    run(job_of(tmp_path), data)
    result = next((tmp_path / "out" / "results").iterdir())
    result.write_bytes(result.read_bytes()[:-20])
    with pytest.raises(DamagedObject, match=f"{result.name}: not readable as Parquet"):
        run(job_of(tmp_path), data)


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
