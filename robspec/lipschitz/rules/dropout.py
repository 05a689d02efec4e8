"""Dropout, which must be inactive."""

from __future__ import annotations

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "native_dropout")


def bound(call: Call) -> Step | list[Step | None]:
    """Answer the value itself in evaluation mode.

    Raises:
        UnsuitableProgram: exported in training mode.
    """
    if call.get("train") is not False:
        raise call.unsuitable("dropout is active: the model was exported in training mode", "call model.eval() first")
    step = call.same(call.value("input"))
    return step if len(call.shapes) == 1 else [step, None]
