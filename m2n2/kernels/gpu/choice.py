"""Where a Triton kernel takes the place of its torch form: the one place that decides it.

The device decides: on a CUDA device the kernel is used once it has shown there, on a tiny input, that it compiles and
gives what the torch form gives on the CPU. One that does not is reported once and torch goes on in its place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Generic, ParamSpec, TypeVar

import torch

TOLERANCE = 1e-5  # of the largest value; the trials' sums in float32 are within 1e-6
MOST_LETTERS = 300  # of a compiler's message that are reported

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_log = logging.getLogger("m2n2.gpu")
_one_at_a_time = Lock()
_reported: set[tuple[str, str]] = set()


@dataclass(frozen=True, eq=False)
class Choice(Generic[Arguments, Result]):
    """A torch form, the Triton kernel that may replace it, and how to try the kernel.

    Attributes:
        name: of the kernel, for people.
        torch_form, triton_form: take the same arguments; the latter imports Triton when it is called.
        trial: tiny arguments on the CPU, of the variant asked for. Variants are what kernels are compiled for
            separately, such as types.
        otherwise: what happens where the kernel is not used, for people; it may have the name in it.
    """

    name: str
    torch_form: Callable[Arguments, Result]
    triton_form: Callable[Arguments, Result]
    trial: Callable[..., tuple[Any, ...]]
    otherwise: str = "torch does the work of the Triton kernel {name!r}, with the same results"
    _sound: set[tuple[Any, ...]] = field(default_factory=set, init=False)
    _refused: set[torch.device] = field(default_factory=set, init=False)

    def on(self, device: torch.device, *variant: Any) -> Callable[Arguments, Result]:
        """The form for tensors on this device."""
        return self.tried(device, *variant) if device.type == "cuda" else self.torch_form

    def tried(self, device: torch.device, *variant: Any) -> Callable[Arguments, Result]:
        """The Triton form if its trial on this device succeeds, else the torch form; tried once a variant and process.

        A kernel whose trial failed is not tried on that device again, whatever the variant.
        """
        with _one_at_a_time:
            if device not in self._refused and (device, *variant) not in self._sound:
                fault = self._fault(device, variant)
                if fault is None:
                    self._sound.add((device, *variant))
                else:
                    self._refused.add(device)
                    _report(str(device), self.otherwise.format(name=self.name), fault)
            return self.torch_form if device in self._refused else self.triton_form

    def _fault(self, device: torch.device, variant: tuple[Any, ...]) -> str | None:
        arguments = self.trial(*variant)
        expected = self.torch_form(*_copied(arguments, torch.device("cpu")))  # type: ignore[call-arg]
        try:
            found = self.triton_form(*_copied(arguments, device))  # type: ignore[call-arg]
            difference = max(map(_difference, _tensors(found), _tensors(expected)))
        except Exception as error:  # whatever a compiler or a driver may raise; torch can go on without the kernel
            return f"{type(error).__name__}: {' '.join(str(error).split())[:MOST_LETTERS]}"
        if difference <= TOLERANCE:
            return None
        return f"it differs from torch by {difference:.1e} of the largest value, allowed: {TOLERANCE:.0e}"


def _copied(arguments: tuple[Any, ...], device: torch.device) -> list[Any]:
    return [each.to(device, copy=True) if isinstance(each, torch.Tensor) else each for each in arguments]


def _tensors(result: Any) -> list[torch.Tensor]:
    return [torch.as_tensor(each) for each in (result if isinstance(result, tuple) else (result,))]


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, as a share of the largest value; infinite where a value is not finite."""
    share = float((found.cpu().double() - expected.double()).abs().max() / expected.double().abs().max())
    return share if share < float("inf") else float("inf")


def _report(device: str, otherwise: str, fault: str) -> None:
    if (device, fault) not in _reported:  # where Triton is missing, every kernel has the same fault
        _reported.add((device, fault))
        _log.warning("on %s %s: %s", device, otherwise, fault)
