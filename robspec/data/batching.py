"""How many images go through a model at once, where nobody says."""

from __future__ import annotations

import math

from robspec.ir.types import Model

_LARGEST_BATCH = 8
_WHOLE_IMAGES = 256
_BATCH_BYTES = 64 << 20


def default_batch_size(model: Model) -> int:
    """Choose how many images go through the model at once.

    At most 8, or 256 where each is judged as a whole and is small; and at most 64 MiB of logits in doubles, which a
    store then keeps, or of such images.
    """
    values = math.prod(model.plane)
    if model.task.item == "image":
        most, values = _WHOLE_IMAGES, max(values, 8 * math.prod(model.input_shape))
        most = max(min(most, _BATCH_BYTES // (4 * values)), _LARGEST_BATCH)
        return max(1, min(most, _BATCH_BYTES // (4 * values)))
    return max(1, min(_LARGEST_BATCH, _BATCH_BYTES // (8 * values)))
