"""The state of a run between two steps: plain tensors and text, written whole, read without unpickling."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robspec.models.inspect import read_file
from robspec.models.sameness import differing
from robspec.models.writing import write_whole
from robspec.train.errors import CheckpointMismatch

NAME = "checkpoint.pt"


@dataclass(slots=True)
class Progress:
    """Where a run stands.

    Args:
        step: steps done.
        loss_sum: of the losses of the running epoch, in float64.
        seconds: spent training so far, over all parts of the run.
        history: one entry per finished epoch.
    """

    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


def save(
    path: Path, identity: dict[str, str], progress: Progress, network: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write a checkpoint; a reader finds the old one or the new one, whole.

    Args:
        path: the file.
        identity: what a run that goes on from here must agree on.
        progress: where the run stands.
        network: all of its state is kept, buffers and power iterations included.
        optimizer: so is its.

    Raises:
        UnwritableOutput: E0214.
    """
    text = json.dumps(
        {
            "identity": identity,
            "step": progress.step,
            "loss_sum": progress.loss_sum,
            "seconds": progress.seconds,
            "history": progress.history,
        }
    )
    buffer = io.BytesIO()
    torch.save({"text": text, "network": network.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    write_whole(path, buffer.getvalue())


def resume(
    path: Path, identity: dict[str, str], network: nn.Module, optimizer: torch.optim.Optimizer
) -> Progress | None:
    """Go on from a checkpoint, if there is one.

    Args:
        path: the file.
        identity: what this run is.
        network: receives the state.
        optimizer: receives its state.

    Returns:
        Where the run stands, or None without a checkpoint.

    Raises:
        CheckpointMismatch: E0704, of another run, or damaged.
    """
    if not path.exists():
        return None
    where = str(path)
    try:
        found = torch.load(io.BytesIO(read_file(path)), map_location="cpu", weights_only=True)
        text = json.loads(found["text"])
        theirs = dict(text["identity"])
        progress = Progress(int(text["step"]), float(text["loss_sum"]), float(text["seconds"]), list(text["history"]))
        weights: dict[str, Tensor] = dict(found["network"])
    except Exception as error:
        raise CheckpointMismatch(
            where, f"it cannot be read: {type(error).__name__}", "begin again with --fresh"
        ) from error
    others = differing(identity, theirs)
    if others:
        raise CheckpointMismatch(
            where,
            f"it is of another run: other {', other '.join(others)}",
            "restore what was changed, name another --out, or begin again with --fresh",
        )
    try:
        network.load_state_dict(weights, strict=True)
        optimizer.load_state_dict(found["optimizer"])
    except Exception as error:
        raise CheckpointMismatch(
            where, f"its tensors do not fit: {str(error)[:300]}", "begin again with --fresh"
        ) from error
    return progress
