"""Running a loaded program: node after node, in one dtype, with nothing that varies between calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

FLOATS = (torch.float32, torch.float64)


def state_inputs(program: ExportedProgram) -> list[Tensor | None]:
    """List what the graph takes, in its order: each weight, and None where the images go.

    Args:
        program: an exported program of one image input.

    Returns:
        One entry per placeholder.
    """
    given: list[Tensor | None] = []
    for spec in program.graph_signature.input_specs:
        if spec.kind == InputKind.USER_INPUT:
            given.append(None)
            continue
        target = str(spec.target)
        found = program.state_dict.get(target)
        given.append(program.constants[target] if found is None else found)
    return given


class Runner(fx.Interpreter):
    """Interprets a graph without generated code, reading every dtype of the graph in the chosen precision.

    Args:
        program: an exported program of one image input.
        own: the program's floating-point dtype.
        chosen: the dtype to compute in.
        device: where to compute.
    """

    def __init__(self, program: ExportedProgram, own: torch.dtype, chosen: torch.dtype, device: torch.device) -> None:
        super().__init__(program.graph_module, garbage_collect_values=True)
        self._own = own
        self._chosen = chosen
        self._device = device
        self._state = [None if t is None else self._converted(t) for t in state_inputs(program)]

    def images_to_logits(self, images: Tensor) -> Tensor:
        """Run the graph on one batch.

        Args:
            images: [B, C, H, W] in the chosen dtype, on the device.

        Returns:
            Whatever the graph's one output is.
        """
        arguments = [images if t is None else t for t in self._state]
        output: Any = self.run(*arguments)
        result = output[0] if isinstance(output, (tuple, list)) else output
        assert isinstance(result, Tensor)  # noqa: S101  (one tensor output was checked when loading)
        return result

    def writes(self) -> int:
        """Count how often the weights have been written to; it must never change."""
        return sum(t._version for t in self._state if t is not None)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Call one operator; assertions about metadata hold for the file's own dtype and device only."""
        if target is torch.ops.aten._assert_tensor_metadata.default:
            return None
        swapped = fx.node.map_aggregate((args, kwargs), self._swapped)
        return super().call_function(target, *swapped)

    def _swapped(self, value: Any) -> Any:
        if value is self._own:
            return self._chosen
        return self._device if isinstance(value, torch.device) else value

    def _converted(self, tensor: Tensor) -> Tensor:
        dtype = self._chosen if tensor.dtype == self._own else tensor.dtype
        return tensor.detach().to(device=self._device, dtype=dtype)


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Compute in IEEE arithmetic: no gradients, autocast, TF32 or algorithm chosen by timing."""
    before = [b.fp32_precision for b in _PRECISIONS]
    try:
        for backend in _PRECISIONS:
            backend.fp32_precision = "ieee"
        with torch.no_grad(), torch.autocast(device.type, enabled=False), _fixed_algorithms():
            yield
    finally:
        for backend, value in zip(_PRECISIONS, before, strict=True):
            backend.fp32_precision = value


_PRECISIONS: tuple[Any, ...] = (
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,  # type: ignore[attr-defined]
    # Not used here, but torch refuses to read its flags while these two differ.
    torch.backends.cudnn.rnn,
    torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
    torch.backends.mkldnn.conv,  # type: ignore[attr-defined]
)


@contextmanager
def _fixed_algorithms() -> Iterator[None]:
    cudnn = torch.backends.cudnn
    before = (cudnn.benchmark, cudnn.deterministic)
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before
