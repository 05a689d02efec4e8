"""Running a loaded program: node after node, in one dtype, with nothing that varies between calls."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx
from torch.export.graph_signature import InputKind

from robspec.function.layout import image_node, stored
from robspec.function.literals import with_rounded_numbers
from robspec.function.nodes import kinds, operation
from robspec.function.program import AnyProgram
from robspec.function.settle import settle

FLOATS = (torch.float32, torch.float64)


def state_inputs(program: AnyProgram) -> list[Tensor | None]:
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
        given.append(stored(program, spec))
    return given


class Runner(fx.Interpreter):
    """Interprets a settled graph without generated code, reading every dtype of its data in the chosen precision.

    Stored and folded constants, and tensors that follow from sizes, are what the file's own types make of them; they
    are converted where they meet data.

    Args:
        program: an exported program of one image input; settled if it is not.
        own: the program's floating-point dtype.
        chosen: the dtype to compute in, no narrower than its own.
        device: where to compute.
    """

    def __init__(self, program: AnyProgram, own: torch.dtype, chosen: torch.dtype, device: torch.device) -> None:
        program = settle(program)
        super().__init__(program.graph_module, garbage_collect_values=True)
        self._own = own
        self._chosen = chosen
        self._device = device
        self._kinds = kinds(program.graph, image_node(program))
        self._given = {}
        if chosen != own:
            # What is meant is what the file computes: 0.1 in a float32 model is the float32 number.
            data = (n for n in program.graph.nodes if n.op == "call_function" and self._kinds[n] == "data")
            self._given = {node: with_rounded_numbers(node) for node in data}
        places = [node for node in program.graph.nodes if node.op == "placeholder"]
        self._state = [self._ready(p, t) for p, t in zip(places, state_inputs(program), strict=True)]

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

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> Any:
        """Look a node's arguments up, constants converted where the node works on data."""
        if n.op != "call_function" or self._kinds[n] != "data":
            return super().fetch_args_kwargs_from_env(n)

        def load(source: fx.Node) -> Any:
            value = self.env[source]
            return value if self._kinds[source] == "data" else fx.node.map_aggregate(value, self._converted)

        args, keywords = self._given.get(n, (n.args, n.kwargs))
        return fx.map_arg(args, load), fx.map_arg(keywords, load)

    def run_node(self, n: fx.Node) -> Any:
        """Run one node; assertions about metadata hold for the file's own dtype and device only."""
        if n.target is torch.ops.aten._assert_tensor_metadata.default:
            return None
        if n.op != "call_function":
            return super().run_node(n)
        swap = self._swapped if self._kinds[n] == "data" else self._placed
        args, keywords = self.fetch_args_kwargs_from_env(n)
        args, keywords = fx.node.map_aggregate((args, keywords), swap)
        if self._device.type != "cpu" and keywords.get("device") is None and _makes(n.target):
            keywords = {**keywords, "device": self._device}
        if self._chosen != self._own and operation(n).lstrip("_").startswith("upsample_nearest"):
            found = self._same_pixels(n, args, keywords)
            if found is not None:
                return found
        return super().call_function(n.target, args, keywords)

    def _same_pixels(self, n: fx.Node, args: Any, keywords: Any) -> Any:
        """Take the pixels that nearest resampling takes in the file's own type, which are others in another type."""
        name = next((key for key in ("input", "self") if key in keywords), None)
        images = args[0] if name is None else keywords[name]
        sides = images.shape[2:]
        if math.prod(sides) >= 1 << torch.finfo(self._own).bits * 3 // 4:
            return None  # numbers of pixels are rounded
        places = torch.arange(math.prod(sides), dtype=self._own, device=images.device).reshape(1, 1, *sides)
        given = (args, {**keywords, name: places}) if name else ((places, *args[1:]), keywords)
        taken = super().call_function(n.target, *given)[0, 0]
        return images.flatten(2)[..., taken.flatten().long()].reshape(*images.shape[:2], *taken.shape)

    def _ready(self, place: fx.Node, tensor: Tensor | None) -> Tensor | None:
        """Bring a constant to the device, and to the chosen type where only data meets it."""
        if tensor is None:
            return None
        moved = tensor.detach().to(device=self._device)
        data_only = all(self._kinds[user] == "data" for user in place.users if user.op == "call_function")
        return self._converted(moved) if data_only else moved

    def _swapped(self, value: Any) -> Any:
        return self._chosen if value is self._own else self._placed(value)

    def _placed(self, value: Any) -> Any:
        return self._device if isinstance(value, torch.device) else value

    def _converted(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.dtype == self._own:
            return value.to(dtype=self._chosen)
        return value


def _makes(target: Any) -> bool:
    """Whether an operation takes by name the device of its result, which may be the CPU where none is named."""
    arguments = target._schema.arguments if isinstance(target, torch._ops.OpOverload) else ()
    return any(a.name == "device" and a.kwarg_only for a in arguments)


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
