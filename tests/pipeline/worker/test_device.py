"""Errors of the device end the worker; of an image, and of memory that it asks for, they are its rows."""

from __future__ import annotations

import pickle

import pytest
import torch

from pipeline.worker.device import DeviceFailed
from pipeline.worker.refinement import segment_failure


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED, CUDA error: unspecified launch failure"),
    ],
)
def test_a_device_that_fails_in_the_middle_of_a_run_is_no_images_fault(error: Exception) -> None:
    with pytest.raises(DeviceFailed, match="CUDA error") as raised:
        segment_failure(error)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value), "it travels to the driver"


@pytest.mark.parametrize("answers", [True, False])
def test_where_words_do_not_tell_the_device_is_asked(monkeypatch: pytest.MonkeyPatch, answers: bool) -> None:
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("pipeline.worker.device._answers", lambda: answers)
    error = RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED when calling cublasSgemm")
    if answers:
        assert segment_failure(error).reason == "internal"
    else:
        with pytest.raises(DeviceFailed, match="CUBLAS"):
            segment_failure(error)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_device_without_enough_memory_for_an_image_is_that_images_row(error: Exception) -> None:
    assert segment_failure(error).reason == "device_memory"


def test_errors_of_the_images_own_are_rows() -> None:
    assert segment_failure(MemoryError()).reason == "out_of_memory"
    assert segment_failure(ValueError("no")).reason == "internal"
