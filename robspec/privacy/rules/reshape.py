"""Linear maps without trained parameters: views, permutations, selections, repetitions, padding, averages."""

from __future__ import annotations

from robspec.privacy.asked import Asked, Effect

OPERATIONS = (
    *("view", "_unsafe_view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "ravel"),
    *("permute", "transpose", "t", "swapaxes", "swapdims", "movedim", "moveaxis"),
    *("split", "split_with_sizes", "chunk", "tensor_split", "slice", "narrow", "select", "unbind"),
    *("flip", "fliplr", "flipud", "roll", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
    *("expand", "broadcast_to", "clone", "contiguous", "alias", "to", "_to_copy"),
    *("pad", "constant_pad_nd", "_pad_circular"),
    *("reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d"),
)


def effect(asked: Asked) -> Effect:
    """Bound by the norm of the map, which its adjoint, the backward pass, shares."""
    value = asked.call.get("value")
    if isinstance(value, int | float) and value != 0:
        raise asked.refuse(f"it pads with {value}", "pad with 0")
    return asked.one(asked.gain())
