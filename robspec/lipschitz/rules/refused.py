"""Operations known to have no global Lipschitz constant, each with what to do about it."""

from __future__ import annotations

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step, Value

_DEVIATION = (
    "it divides by the image's own deviation, which can be arbitrarily small",
    "centre without dividing: x - x.mean(..., keepdim=True) is 1-Lipschitz",
)
_ATTENTION = (
    "attention multiplies data by data and has no global Lipschitz constant",
    "use convolutions, or mixing by constant matrices",
)
_STEP = ("it is a step function of the data", "keep step functions out of the path to the logits")
_CHOICE = (
    "it is a step function of the data",
    "keep step functions out of the path to the logits: write a choice that does not jump with relu or clamp",
)
_GROWTH = (
    "its slope is unbounded",
    "use a function with bounded slope, such as softplus, tanh or a clamp before it",
)
_PRODUCT = ("it multiplies data by data", "multiply by constants only")

_REASONS = {
    "layer_norm": _DEVIATION,
    "native_layer_norm": _DEVIATION,
    "group_norm": _DEVIATION,
    "native_group_norm": _DEVIATION,
    "rms_norm": _DEVIATION,
    "_fused_rms_norm": _DEVIATION,
    "std": _GROWTH,
    "var": _GROWTH,
    "var_mean": _GROWTH,
    "scaled_dot_product_attention": _ATTENTION,
    "_scaled_dot_product_flash_attention_for_cpu": _ATTENTION,
    "_scaled_dot_product_efficient_attention": _ATTENTION,
    "_scaled_dot_product_attention_math": _ATTENTION,
    "addcmul": _PRODUCT,
    "prod": _PRODUCT,
    "cumprod": _PRODUCT,
    "addcdiv": _DEVIATION,
    "exp": _GROWTH,
    "expm1": _GROWTH,
    "log": _GROWTH,
    "log1p": _GROWTH,
    "reciprocal": _GROWTH,
    "rsqrt": _GROWTH,
    "sinh": _GROWTH,
    "cosh": _GROWTH,
    "tan": _GROWTH,
    "atan2": _GROWTH,
    "sign": _STEP,
    "round": _STEP,
    "floor": _STEP,
    "ceil": _STEP,
    "trunc": _STEP,
    "frac": _STEP,
    "remainder": _STEP,
    "fmod": _STEP,
    "heaviside": _STEP,
    "hardshrink": _STEP,
    "argmax": _STEP,
    "argmin": _STEP,
    "argsort": _STEP,
    "le": _CHOICE,
    "lt": _CHOICE,
    "ge": _CHOICE,
    "gt": _CHOICE,
    "eq": _CHOICE,
    "ne": _CHOICE,
    "logical_and": _CHOICE,
    "logical_or": _CHOICE,
    "logical_not": _CHOICE,
    "bitwise_and": _CHOICE,
}
_SUMS = {
    "addcmul": "write it as a product and a sum: input + value * tensor1 * tensor2",
    "addcdiv": "write it as a quotient and a sum: input + value * tensor1 / tensor2",
}
OPERATIONS = tuple(_REASONS)
DATA = (
    "self",
    "input",
    "other",
    "query",
    "key",
    "value",
    "mat2",
    "batch1",
    "batch2",
    "tensor1",
    "tensor2",
    "tensors",
)


def bound(call: Call) -> Step:
    """Refuse, saying why and what to use instead.

    Raises:
        NoGlobalConstant: always.

    Source: MATH.md section 5.
    """
    what, mend = _REASONS[call.name]
    if call.name in _SUMS and sum(isinstance(item, Value) for item in call.arguments.values()) == 1:
        raise call.refuse(
            f"{call.name} has no rule, not even with one tensor that depends on the image", _SUMS[call.name]
        )
    jumps = _REASONS[call.name] is _STEP
    raise call.refuse(f"{call.name} has no global Lipschitz constant: {what}", mend, jumps=jumps)
