"""How many images go through a model at once, where nobody says."""

from __future__ import annotations

from robspec.ir.types import Model

_LARGEST_BATCH = 8
_BATCH_BYTES = 64 << 20


def default_batch_size(model: Model) -> int:
    """Choose how many images go through the model at once: at most 8, and at most 64 MiB of logits."""
    classes, height, width = model.output_shape
    return max(1, min(_LARGEST_BATCH, _BATCH_BYTES // (4 * classes * height * width)))
