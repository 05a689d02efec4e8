"""The loss of each sample as torch's float32 computes it: its automatic derivative knows nothing of whole numbers."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from robspec.models.lipnets.patches import PlainWeights
from robspec.train.config import Config
from robspec.train.losses import IGNORED


def sample_losses(network: PlainWeights, config: Config, images: Tensor, labels: Tensor) -> Tensor:
    """The loss of each sample: cross-entropy of tau z over tau, the mean over all its pixels.

    Pixels without a label count as 0, so that the divisor is public. Images are projected after the normalisation.

    Args:
        network: its weights are trained.
        config: `loss` and `privacy`.
        images: [B, C, H, W].
        labels: int64 [B, H, W].

    Returns:
        [B].
    """
    found = (images - network.mean) * network.inverse
    size = found.double().flatten(1).norm(dim=1).clamp_min(1e-30)
    scale = ((1 - 1e-6) * config.privacy.norm_bound / size).clamp_max(1.0)
    logits = network.body(found * scale.to(found.dtype)[:, None, None, None])
    kept = labels != IGNORED
    right = functional.one_hot(labels.clamp_min(0), logits.shape[1]).movedim(-1, 1)
    lowered = logits - config.loss.margin * right
    each = functional.cross_entropy(config.loss.tau * lowered, labels.clamp_min(0), reduction="none")
    return (each * kept).flatten(1).mean(dim=1) / config.loss.tau
