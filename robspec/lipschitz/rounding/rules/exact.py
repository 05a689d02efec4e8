"""Operations that select, order or repeat numbers, or change signs: nothing is rounded."""

from __future__ import annotations

from robspec.lipschitz.rounding.charge import Asked, Charge, Term

OPERATIONS = (
    *("relu", "relu6", "abs", "absolute", "neg", "negative", "clamp", "clip", "clamp_min", "clamp_max", "hardtanh"),
    *("view", "_unsafe_view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "ravel"),
    *("permute", "transpose", "t", "swapaxes", "swapdims", "movedim", "moveaxis", "numpy_T", "mT"),
    *("split", "split_with_sizes", "chunk", "tensor_split", "slice", "narrow", "select", "unbind"),
    *("flip", "fliplr", "flipud", "roll", "rot90", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
    *("native_channel_shuffle", "index_select", "index", "gather", "take_along_dim", "unfold", "im2col"),
    *("diagonal", "tril", "triu", "masked_fill", "sort", "msort", "topk", "kthvalue", "amax", "amin"),
    *("max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
    *("max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices"),
    *("pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d"),
    *("replication_pad1d", "replication_pad2d", "replication_pad3d", "_pad_circular"),
    *("expand", "broadcast_to", "repeat", "tile", "repeat_interleave"),
    *("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "native_dropout"),
    *("clone", "contiguous", "detach", "alias", "lift_fresh", "lift_fresh_copy", "positive"),
    *("cat", "concat", "concatenate", "stack", "where", "maximum", "minimum", "fmax", "fmin", "max", "min"),
    "threshold",
)
_SEVERAL = ("cat", "concat", "concatenate", "stack")


def charge(asked: Asked) -> Charge:
    """Pass on the errors of the inputs."""
    sources = asked.sources
    if len(sources) == 1 and asked.call.name not in _SEVERAL:
        return asked.one(0.0)
    if asked.call.name in _SEVERAL:
        return Charge(tuple(Term(v, 1.0, 0.0) for v in sources))
    return Charge(tuple(Term(v, asked.repeated(v), 0.0) for v in sources))
