"""Copies: what a kernel or the host reads has arrived, and nobody waits for more than that."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from m2n2 import Prompt, Scene, Settings
from m2n2.kernels.gpu import copies
from m2n2.kernels.gpu.copies import own_stream, to_host, upload, upload_ahead
from tests.m2n2.kernels.gpu.late_device import Event, LateDevice

CPU = torch.device("cpu")
VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> LateDevice:
    """A device that is as late as may be, in the place of CUDA and of the CPU."""
    device = LateDevice()
    monkeypatch.setattr(copies, "CUDA", device)
    monkeypatch.setattr(copies, "_streams", type(copies._streams)())
    return device


def test_the_cpu_copies_nothing() -> None:
    for tensor in (upload(VALUES, CPU), upload_ahead(VALUES, CPU).tensor()):
        assert np.shares_memory(tensor.numpy(), VALUES)
        assert np.shares_memory(to_host(tensor), VALUES)


def test_a_kernel_finds_what_was_uploaded_ahead_though_its_stream_is_asked_first(late: LateDevice) -> None:
    ahead = upload_ahead(VALUES, CPU)
    tensor, result = ahead.tensor(), torch.zeros(2, 3)
    late.launch(lambda: result.copy_(2 * tensor))
    assert np.array_equal(to_host(result), 2 * VALUES)


def test_without_the_wait_the_late_device_finds_nothing(late: LateDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "wait_here", lambda event, device: None)
    tensor, result = upload_ahead(VALUES, CPU).tensor(), torch.zeros(2, 3)
    late.launch(lambda: result.copy_(2 * tensor))
    assert not np.array_equal(to_host(result), 2 * VALUES)


def test_the_host_waits_for_no_upload_and_the_next_one_for_no_kernel(late: LateDevice) -> None:
    late.launch(lambda: pytest.fail("a kernel of the image before was waited for"))
    ahead = upload_ahead(VALUES, CPU)
    assert (ahead._tensor == -1).all(), "nobody has asked for it"
    ahead._arrived.synchronize()
    assert np.array_equal(ahead._tensor.numpy(), VALUES)


def test_memory_of_an_upload_is_kept_for_the_stream_that_reads_it(late: LateDevice) -> None:
    tensor = upload_ahead(VALUES, CPU).tensor()
    assert [(kept is tensor, stream is late.default) for kept, stream in late.kept] == [(True, True)]


def test_a_threads_own_stream_is_done_when_it_is_left_and_waits_for_no_other(late: LateDevice) -> None:
    late.launch(lambda: pytest.fail("the network of the next image was waited for"))
    result = torch.zeros(2, 3)
    with own_stream(CPU):
        values = upload(VALUES, CPU)
        late.launch(lambda: result.copy_(3 * values))
        assert (result == 0).all()
    assert np.array_equal(result.numpy(), 3 * VALUES)


def test_a_stream_of_its_own_serves_a_thread_again(late: LateDevice) -> None:
    streams = []
    for _ in range(2):
        with own_stream(CPU):
            streams.append(late.current)
    assert streams[0] is streams[1] is not late.default


def test_a_scene_asks_for_its_copies_here(late: LateDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels of the CPU run at once, so that what is uploaded has to be there at once; the host still waits."""
    monkeypatch.setattr(late, "copy", lambda target, source: target.copy_(source))
    left: list[bool] = []
    reached = late.reached

    def noted(device: torch.device) -> Event:
        left.append(late.current is late.default)
        return reached(device)

    monkeypatch.setattr(late, "reached", noted)
    rng = np.random.default_rng(0)
    image, attention = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), rng.random((8, 8, 8, 8), np.float32)
    prompts = [Prompt([(9.0, 7.0)], [True])]
    scene = Scene(image, attention.copy(), Settings())
    scene.advance([(9.0, 7.0)])
    assert left == [True], "the chain's maps were copied in the stream that made them"
    [mask] = scene.segment(prompts)
    assert left == [True, False], "upsampling has a stream of its own"
    monkeypatch.undo()
    assert np.array_equal(mask.mask, Scene(image, attention.copy(), Settings()).segment(prompts)[0].mask)
