"""Where a check runs the network: on the CPU, or on a CUDA device that torch finds.

Of the rounding of kernels on a GPU nothing is proved, and logits found there are kept nowhere.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from robspec.verify.errors import DeviceUnavailable, OptionValueError

if TYPE_CHECKING:
    from torch import Tensor

    from robspec.models.loading import LoadedModel
    from robspec.session.worker import Setup

_ASKED = re.compile(r"auto|cpu|cuda(:\d{1,3})?")
CPU = "cpu"


@dataclass(frozen=True, slots=True)
class Place:
    """A device, and what a report says of it.

    Args:
        name: "cpu" or "cuda:N".
        told: a line for the report; empty where nobody asked for anything but the CPU.
        shared: what workers are told: "cuda" where each takes the next device, else the name.
    """

    name: str = CPU
    told: str = ""
    shared: str = CPU

    @property
    def far(self) -> bool:
        """Whether it is no CPU."""
        return self.name != CPU


def refuse_misspelt(asked: str) -> None:
    """Stop where a device is asked for in words that name none.

    Raises:
        OptionValueError: E0601.
    """
    if not _ASKED.fullmatch(asked):
        raise OptionValueError("--device", f"there is no device {asked[:64]!r}", "write cpu, cuda, cuda:N or auto")


def place(asked: str) -> Place:
    """Find a device.

    Args:
        asked: "cpu", "cuda" for the first CUDA device, "cuda:N"; or "auto", "cuda" where there is one, else "cpu".

    Returns:
        The device; torch is not imported for the CPU.

    Raises:
        DeviceUnavailable: E0408, torch finds no such device.
    """
    if asked == CPU:
        return Place()
    kind, _, index = asked.partition(":")
    number = int(index or 0)
    why = missing(number)
    if why and kind == "auto":
        return Place(told=f"device: cpu, as --device auto finds no other: {why}")
    if why:
        raise DeviceUnavailable("--device", f"{asked} cannot be used: {why}", "say --device cpu, or --device auto")
    import torch

    name = f"cuda:{number}"
    told = f"device: {name} ({torch.cuda.get_device_name(number)}): of the rounding of its kernels nothing is proved"
    return Place(name, f"{told}, and its logits are not kept", name if index else "cuda")


def missing(number: int) -> str:
    """Say why torch cannot use a CUDA device; empty where it can."""
    import torch

    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        return f"torch {torch.__version__} is built without CUDA"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not there:
        reasons = [str(w.message).strip().splitlines()[0][:200] for w in said if str(w.message).strip()]
        return "; ".join(["torch finds no CUDA device", *reasons[:1]])
    if number >= there:
        return f"torch finds {there} CUDA device{'' if there == 1 else 's'}, and counts from 0"
    try:
        torch.zeros(1, device=f"cuda:{number}").cpu()
    except (RuntimeError, AssertionError) as error:
        return (str(error).strip().splitlines() or [repr(error)])[0][:200]
    return ""


def nth(shared: str, number: int) -> str:
    """Say where one of several workers runs the network.

    Args:
        shared: `Place.shared`.
        number: of the worker, from 0.

    Returns:
        The device; of "cuda" each worker takes the next one, and after the last the first again.
    """
    if shared != "cuda":
        return shared
    import torch

    return f"cuda:{number % max(torch.cuda.device_count(), 1)}"


def is_far(setup: Setup) -> bool:
    """Whether a worker is to run the network elsewhere than on a CPU."""
    return bool(setup.options.get("device", CPU) != CPU)


def given(setup: Setup, number: int) -> Setup:
    """Give one of several workers the device that is its own."""
    if not is_far(setup):
        return setup
    return replace(setup, options={**setup.options, "device": nth(setup.options["device"], number)})


def current(name: str) -> AbstractContextManager[object]:
    """Have kernels started on a device, which Triton starts on the current one."""
    if name == CPU:
        return nullcontext()
    import torch

    found: AbstractContextManager[object] = torch.cuda.device(name)
    return found


@contextmanager
def enough(name: str) -> Iterator[None]:
    """Say it where the memory of a device is too small.

    Raises:
        DeviceUnavailable: E0408.
    """
    if name == CPU:
        yield
        return
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        what = f"the memory of {name} is too small: {str(error).strip()[:200]}"
        raise DeviceUnavailable("--device", what, "ask for a smaller --batch-size, or say --device cpu") from error


class Near:
    """A model whose logits, and gradients of images, come to the CPU, where a search for counterexamples works.

    Args:
        model: runs elsewhere.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self.second = None if model.second is None else Near(model.second)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of the logits of one image."""
        return self._model.output_shape

    def logits(self, images: Tensor) -> Tensor:
        """See `LoadedModel.logits`."""
        return self._model.logits(images).cpu()

    def differentiable(self, images: Tensor) -> Tensor:
        """See `LoadedModel.differentiable`."""
        return self._model.differentiable(images).cpu()
