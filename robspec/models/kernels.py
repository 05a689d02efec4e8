"""Whether the kernels that run a float32 program add up products, each rounded once, and do nothing else.

Transforms such as Winograd's or Fourier's, and products of shortened numbers, keep none of the bounds of rounding.
What torch would choose is asked of torch, convolution by convolution, and what is not known is refused.
"""

from __future__ import annotations

import os
import platform
from typing import Any

import torch
from torch import Tensor, fx

from robspec.function.nodes import operation
from robspec.function.running import Runner
from robspec.models.errors import OtherKernels
from robspec.models.loading import LoadedModel

_MODES = ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")
_SUMS = frozenset(
    {
        *("Mkldnn", "MkldnnTranspose", "MkldnnEmpty", "Empty"),
        *("Slow2d", "Slow3d", "SlowDilated2d", "SlowDilated3d", "SlowTranspose2d", "SlowTranspose3d"),
    }
)
"""Choices that add up products: oneDNN's direct and matrix kernels, and torch's own."""


class _Asking(Runner):
    """Runs a program once, and asks what each convolution would be computed with."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__(model.program, torch.float32, torch.float32, torch.device("cpu"))
        self.found: dict[str, str] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "call_function" and "conv" in operation(n):
            args, keywords = self.fetch_args_kwargs_from_env(n)
            self.found[n.name] = _backend(operation(n), args, keywords)
        return super().run_node(n)


def refuse_other_kernels(model: LoadedModel, batch: int) -> str:
    """Stop where something else may compute a float32 program than sums of products.

    Args:
        model: run on batches of 1 and of `batch` images.
        batch: largest batch.

    Returns:
        What was found, for a report.

    Raises:
        OtherKernels: E0228, naming the first condition that does not hold.
    """
    conditions: list[tuple[bool, str, str]] = [
        (model.dtype == torch.float32, "the program is in another type than float32", "ask with --arithmetic real"),
        (
            not model.peeled and (model.second is None or not model.second.peeled),
            "it ends in a function whose float32 values tie where logits do not",
            "export the logits, before the last sigmoid or softmax",
        ),
        (model.device.type == "cpu", "of kernels on other devices nothing is known", "check on the CPU"),
        (
            platform.machine() in ("x86_64", "AMD64"),
            f"of kernels for {platform.machine()} nothing is known",
            "check on x86-64",
        ),
        (keeps_subnormals(), "numbers below the normal ones become 0", "call torch.set_flush_denormal(False)"),
        (not torch.is_autocast_enabled("cpu"), "autocast is on", "leave it off"),
        (
            torch.get_float32_matmul_precision() == "highest",
            "products of float32 matrices are allowed to be shortened",
            'call torch.set_float32_matmul_precision("highest")',
        ),
        (
            all(p in ("none", "ieee") for p in _precisions()),
            "torch.backends.mkldnn allows shortened numbers",
            'set its fp32_precision to "ieee"',
        ),
        *(
            (os.environ.get(name, "STRICT").upper() == "STRICT", f"{name} is {os.environ.get(name)}", f"unset {name}")
            for name in _MODES
        ),
        (
            bool(torch._C._has_mkldnn) and bool(torch.backends.mkldnn.enabled),
            "oneDNN is off, so that NNPACK computes large batches, by a transform",
            "leave torch.backends.mkldnn on",
        ),
    ]
    for holds, what, mend in conditions:
        if not holds:
            raise OtherKernels(str(model.path), what, mend)
    seen = set()
    for count in sorted(
        {max(1, model.batch.low), batch if model.batch.high is None else min(batch, model.batch.high)}
    ):
        asking = _Asking(model)
        with torch.no_grad():
            asking.images_to_logits(torch.zeros(count, *model.input_shape))
        for name, backend in asking.found.items():
            if backend not in _SUMS:
                what = f"node {name}: batches of {count} are computed by {backend}, of which nothing is known"
                raise OtherKernels(str(model.path), what, "ask with --arithmetic real")
            seen.add(backend)
    return ", ".join(sorted(seen)) or "none"


def _backend(name: str, args: Any, keywords: Any) -> str:
    """Ask torch what computes a convolution."""
    given = list(args) + [None] * 9
    images, weight = given[0], given[1]
    bias = keywords.get("bias", given[2])
    sides = weight.ndim - 2
    if isinstance(given[4], str):
        return f"a convolution with padding={given[4]!r}, which is decided when it runs; export it with numbers"
    if not isinstance(images, Tensor) or keywords.keys() - {"bias"}:
        return "an unusual call"
    if images.ndim == weight.ndim - 1:
        images = images[None]

    def each(place: int, default: int) -> list[int]:
        value = given[place]
        numbers = [default] if value is None else [value] if isinstance(value, int) else list(value)
        return numbers * (sides if len(numbers) == 1 else 1)

    if name.startswith("conv_transpose"):
        stride, padding, more, dilation = each(3, 1), each(4, 0), each(5, 0), each(7, 1)
        groups, transposed = 1 if given[6] is None else given[6], True
    elif name == "convolution":
        stride, padding, dilation, more = each(3, 1), each(4, 0), each(5, 1), each(7, 0)
        groups, transposed = given[8], bool(given[6])
    else:
        stride, padding, dilation, more = each(3, 1), each(4, 0), each(5, 1), [0] * sides
        groups, transposed = 1 if given[6] is None else given[6], False
    if sides == 1:  # torch computes it as one of two sides
        images, weight = images[:, :, None], weight[:, :, None]
        stride, padding, dilation, more = [1, *stride], [0, *padding], [1, *dilation], [0, *more]
    found = torch._C._select_conv_backend(
        images,
        weight,
        bias,
        stride,
        padding,
        dilation,
        transposed,
        more,
        groups,
        None if bias is None else [len(bias)],
    )
    return _named(found)


def _named(found: Any) -> str:
    """Name a choice; the one between two of oneDNN's has no name in Python (torch 2.13)."""
    known = {int(v): k for k, v in type(found).__members__.items()}
    number = int(found)
    if number not in known and (known.get(number - 1), known.get(number + 1)) == ("Mkldnn", "MkldnnEmpty"):
        return "MkldnnTranspose"
    return str(known.get(number, f"choice {number}"))


def _precisions() -> list[str]:
    backends = torch.backends.mkldnn
    return [backends.fp32_precision, backends.conv.fp32_precision, backends.matmul.fp32_precision]  # type: ignore[attr-defined]


def keeps_subnormals() -> bool:
    """Whether numbers below the normal ones are computed with, and not flushed to 0."""
    return bool(torch.tensor(2.0**-1074, dtype=torch.float64) * 1.0)
