"""The windows of convolutions and pooling: strides, dilations and the four ways to state the padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from robspec.models.onnx.call import Call


@dataclass(frozen=True, slots=True)
class Window:
    """A window that moves over a map.

    Args:
        kernel: its sides.
        strides: of each side.
        dilations: of each side.
        begins: rows added before, of each side.
        ends: rows added after.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    begins: list[int]
    ends: list[int]


def window(call: Call, sides: Sequence[int], kernel: Sequence[int]) -> Window:
    """Read a window's attributes.

    Args:
        call: the node.
        sides: of the map.
        kernel: of the window.

    Raises:
        UnknownOnnxOperator: E0222, attributes that contradict each other.
    """
    rank = len(kernel)
    call.option("kernel_shape", tuple(kernel))
    strides = list(call.option("strides", (1,) * rank))
    dilations = list(call.option("dilations", (1,) * rank))
    pads = list(call.option("pads", (0,) * 2 * rank))
    automatic = call.option("auto_pad", "NOTSET")
    if not 1 <= rank <= 3 or len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank:
        raise call.refused(
            "its kernel, strides, dilations and pads are of different lengths, or of more than three sides"
        )
    begins, ends = pads[:rank], pads[rank:]
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        for i in range(rank):
            reach = (kernel[i] - 1) * dilations[i] + 1
            total = max(0, (-(-int(sides[i]) // strides[i]) - 1) * strides[i] + reach - int(sides[i]))
            less, more = total // 2, total - total // 2
            begins[i], ends[i] = (less, more) if automatic == "SAME_UPPER" else (more, less)
    elif automatic not in ("NOTSET", "VALID"):
        raise call.refused("its auto_pad is of no known kind")
    if min(begins + ends, default=0) < 0:
        raise call.refused("its pads are below 0")
    return Window(list(kernel), strides, dilations, begins, ends)


def placed(data: Tensor, found: Window, number: float) -> tuple[list[int], Tensor]:
    """Give the padding that torch can take, and the map with what it cannot."""
    if found.begins == found.ends:
        return found.begins, data
    amounts = [n for pair in zip(reversed(found.begins), reversed(found.ends), strict=True) for n in pair]
    return [0] * len(found.kernel), functional.pad(data, amounts, value=number)
