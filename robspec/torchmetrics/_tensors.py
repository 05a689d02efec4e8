"""Reads the logits and labels of a batch, and looks whether the logits are logits."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import numpy as np
import torch

from robspec.bounds.context import LEFT_OUT
from robspec.torchmetrics.errors import BadBatch, NoLogits

_FEWEST = 16
"""Fewer numbers than this show nothing."""
_NEAR = 1024


class Kind(enum.IntFlag):
    """What was seen among the numbers of a batch; batches are joined by `|`."""

    NONE = 0
    BELOW_ZERO = 1
    ABOVE_ONE = 2
    REACHES_ZERO = 4
    """The least is next to nothing beside the largest."""
    NO_SHARES = 8
    """At some pixel the numbers do not add up to 1."""
    BETWEEN = 16
    """Some number is strictly between 0 and 1."""
    ENOUGH = 32
    """The batch held numbers enough to tell."""


def kind_of(logits: torch.Tensor, dtype: torch.dtype) -> Kind:
    """Look at the numbers of a batch.

    Args:
        logits: finite, [B, K, H, W], on the host.
        dtype: the type the model gave them in.
    """
    values = logits.double()
    least, most = float(values.min()), float(values.max())
    # Rounding of the K numbers and of their sum, in the type they were computed in.
    doubt = (values.shape[1] + 4) * torch.finfo(dtype).eps
    shares = (values.sum(1) - 1).abs().max() <= doubt
    seen = {
        Kind.BELOW_ZERO: least < 0,
        Kind.ABOVE_ONE: most > 1 + (doubt if values.shape[1] > 1 else 0),
        Kind.REACHES_ZERO: values.numel() >= _FEWEST and 0 <= least * _NEAR <= most,
        Kind.NO_SHARES: not bool(shares),
        Kind.BETWEEN: bool(((values > 0) & (values < 1)).any()),
        Kind.ENOUGH: values.numel() >= _FEWEST,
    }
    return joined(kind for kind, found in seen.items() if found)


def refuse_probabilities(kinds: Iterable[Kind], channels: int) -> None:
    """Stop where the numbers of all batches are plainly no logits.

    Args:
        kinds: of each batch.
        channels: logits for each pixel.

    Raises:
        NoLogits: E0714.
    """
    seen = joined(kinds)
    if seen & Kind.BELOW_ZERO or not seen & Kind.ENOUGH:
        return
    if channels > 1:
        if seen & Kind.BETWEEN and not seen & (Kind.ABOVE_ONE | Kind.NO_SHARES):
            what = "the numbers of every pixel lie between 0 and 1 and add up to 1: they are a softmax's, not logits"
            raise NoLogits("preds", what, _mend("softmax"))
    elif not seen & Kind.ABOVE_ONE:
        what = "every number lies between 0 and 1: they are a sigmoid's, not logits, whose sign decides"
        raise NoLogits("preds", what, _mend("sigmoid"))
    elif seen & Kind.REACHES_ZERO:
        what = "no number is below 0, and some all but reach it: of a single logit the sign decides"
        raise NoLogits("preds", what, _mend("last activation"))


def logits_of(preds: torch.Tensor) -> torch.Tensor:
    """Detached logits [B, K, H, W] in float32 or float64, on the host; of whole images, [B, K] is a plane of 1 x 1.

    Raises:
        BadBatch: E0712.
    """
    _refuse_others("preds", preds)
    logits = preds.detach().unsqueeze(1) if preds.dim() == 3 else preds.detach()
    if preds.dim() == 2:
        logits = logits[:, :, None, None]
    if logits.dim() != 4 or not logits.is_floating_point() or 0 in logits.shape:
        what = f"logits of shape {list(preds.shape)} and type {preds.dtype}"
        mend = "pass floating-point logits [B, K, H, W] or [B, H, W], or [B, K] of whole images"
        if logits.dim() == 4 and logits.shape[0] == 0:
            what, mend = "the batch is empty: " + what, "leave empty batches out"
        raise BadBatch("preds", what, mend)
    if logits.dtype not in (torch.float32, torch.float64):
        logits = logits.float()  # exact: every value of a shorter type is one of float32
    return logits.cpu().contiguous()


def labels_of(target: torch.Tensor, logits: torch.Tensor, ignore: int | None) -> torch.Tensor:
    """Labels [B, H, W], LEFT_OUT where they are ignored.

    Raises:
        BadBatch: E0712.
    """
    _refuse_others("target", target)
    shape = (logits.shape[0], *logits.shape[2:])
    labels = target.detach().squeeze(1) if target.dim() == 4 and target.shape[1] == 1 else target.detach()
    if target.dim() == 1 and tuple(logits.shape[2:]) == (1, 1):
        labels = labels[:, None, None]
    if tuple(labels.shape) != shape or labels.is_floating_point() or labels.is_complex():
        what = f"labels of shape {list(target.shape)} and type {target.dtype} for logits {list(logits.shape)}"
        raise BadBatch("target", what, "pass integer labels [B, H, W], or [B] of whole images")
    labels = labels.cpu().to(torch.int64)
    kept = torch.ones_like(labels, dtype=torch.bool) if ignore is None else labels != ignore
    classes = max(int(logits.shape[1]), 2)
    if bool((kept & ((labels < 0) | (labels >= classes))).any()):
        found = sorted({int(y) for y in labels[kept].flatten().tolist()} - set(range(classes)))[:3]
        raise BadBatch("target", f"labels {found} of {classes} classes", "map them, or pass `ignore_index`")
    return torch.where(kept, labels, LEFT_OUT)


def _refuse_others(name: str, given: object) -> None:
    if not isinstance(given, torch.Tensor):
        mend = "pass `torch.from_numpy(array)`" if isinstance(given, np.ndarray) else "pass a tensor"
        raise BadBatch(name, f"a {type(given).__module__}.{type(given).__name__}, which is no torch.Tensor", mend)


def joined(kinds: Iterable[Kind]) -> Kind:
    seen = Kind.NONE
    for kind in kinds:
        seen |= kind
    return seen


def _mend(last: str) -> str:
    return f"pass what the model computes before its {last}, or `check_logits=False` if these are logits after all"
