"""Says what a network ends in where that is not read as a fixed up-sampling."""

from __future__ import annotations

from torch import fx

from robspec.function.layout import Layout, module_path, read
from robspec.function.nodes import arguments, operation
from robspec.function.program import AnyProgram
from robspec.function.settle import settle
from robspec.lipschitz.ending import peel, weight_of
from robspec.lipschitz.upsampling import TRANSPOSED, Lack, lack_of

_STANDS = "such an F.interpolate stands in its place"
_WORDS = {
    Lack.MIXES: ("which mixes classes", "its `groups` are as many as classes, with the same taps for each"),
    Lack.APART: ("which has other taps for each class", "its taps are fixed, the same for each class"),
    Lack.BIAS: ("which has a bias", "it has none (`bias=False`)"),
    Lack.NO_PRODUCT: ("whose taps are no exact product of a column and a row", _STANDS),
}


def other_end(program: AnyProgram) -> tuple[str, str]:
    """Say what stands where a fixed up-sampling should, and what to do about it.

    Args:
        program: one of which `find_ending` says None; its output is [B, K, H, W].

    Returns:
        What the network ends in, and how to export it so that it is read.
    """
    layout = read(settle(program))
    node, _, _, convolutions = peel(layout)
    if node is layout.image:
        return "nothing but 1 x 1 convolutions", "such an F.interpolate is the last it does"
    path = module_path(node, layout.owners)
    named = f"{node.name} ({path})" if path else node.name
    found = _transposed(node, layout, bool(convolutions))
    if found is None:
        return named, "such an F.interpolate is the last it does"
    why, mend = found
    return f"{named}, {why}", mend


def _transposed(node: fx.Node, layout: Layout, mixed: bool) -> tuple[str, str] | None:
    """What a transposed convolution has that is not read, and how to export it; None of anything else."""
    given = {key: item for key, _, item in arguments(node)} if operation(node) in TRANSPOSED else {}
    if operation(node) == "convolution" and given.get("transposed") is not True:
        return None
    named, bias = given.get("weight"), given.get("bias")
    weight = weight_of(named, layout.constants) if isinstance(named, fx.Node) else None
    if weight is None or weight.dim() != 4:
        return None
    stored = weight_of(bias, layout.constants) if isinstance(bias, fx.Node) else None
    lack = lack_of(weight, given.get("groups"), stored, biased=isinstance(bias, fx.Node))
    if lack is not None:
        return _WORDS[lack]
    return ("with a 1 x 1 convolution after it", _STANDS) if mixed else None
