"""Batch normalisation with stored statistics: a factor and a shift per channel."""

from __future__ import annotations

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.rules.scaling import scale
from robspec.lipschitz.values import Step

OPERATIONS = (
    "batch_norm",
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
    "instance_norm",
)


def bound(call: Call) -> Step | list[Step | None]:
    """Bound by the largest |weight| / sqrt(running_var + eps), channel by channel.

    Raises:
        UnsuitableProgram: exported in training mode, or without stored statistics.
        NoGlobalConstant: the normalisation divides by the image's own deviation.

    Source: MATH.md section 5.
    """
    value = call.value("input")
    if call.name == "instance_norm" and call.get("use_input_stats") is not False:
        raise call.refuse(
            "instance normalisation divides by the image's own deviation",
            "centre only, without dividing: x - x.mean((-2, -1), keepdim=True)",
        )
    trained = call.get("training")
    variance, mean = call.tensor("running_var"), call.tensor("running_mean")
    if trained is True or variance is None or mean is None:
        raise call.unsuitable(
            "batch normalisation uses the batch's own statistics", "call model.eval() before the export"
        )
    weight = call.tensor("weight")
    eps = call.number("eps" if "eps" in call.arguments else "epsilon")
    spread = variance.detach().to(torch.float64) + eps
    if not bool(((spread > 0) & torch.isfinite(spread)).all()):
        raise call.refuse("a stored variance plus eps is not a positive number")
    factors = 1.0 / torch.sqrt(spread)
    if weight is not None:
        factors = factors * weight.detach().to(torch.float64)
    rank = len(value.shape)
    if rank < 2:
        raise call.refuse("batch normalisation over a tensor without channels")
    call.passive(value, [1])
    shaped = factors.reshape(1, -1, *(1,) * (rank - 2))
    widest = float(((eps - float(torch.tensor(eps, dtype=torch.float64).to(value.dtype))) / spread).abs().max())
    step = scale(call, value, shaped, directed.add(widest, 4 * directed.UNIT))
    return step if len(call.shapes) == 1 else [step, None, None]
