"""Opens what a check works on: model, data, backend and Lipschitz constant."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import torch

from robspec.data.dataset import Dataset, open_dataset
from robspec.ir.types import Program
from robspec.kernels.knapsack import Backend
from robspec.models.loading import LoadedModel, load
from robspec.semantics.constant import Constant
from robspec.verify.backend import choose
from robspec.verify.constant import assumed
from robspec.verify.result import Times
from robspec.verify.run import match_shapes


@dataclass(frozen=True, slots=True)
class Session:
    """Everything a check needs, opened and matched."""

    model: LoadedModel
    data: Dataset
    backend: Backend
    constant: Constant
    notes: tuple[str, ...]
    times: Times = field(default_factory=Times)


def open_session(
    program: Program,
    model: Path,
    spec: Path,
    *,
    data: Path | None,
    arch: str | None,
    assume: Fraction | None,
    backend: str,
    forward: str,
) -> Session:
    """Open model, data and backend, cheapest checks first.

    Args:
        program: the compiled specification.
        model: the model file.
        spec: the specification file, whose folder the data globs start from.
        data: another folder for them to start from, or None.
        arch: architecture of a bare state_dict, or None.
        assume: a constant to stand on unproved, or None.
        backend: a backend's name, or "auto".
        forward: "model" or "float64".

    Returns:
        The session.

    Raises:
        RobspecError: the model, the data or an option is wrong.
    """
    chosen = choose(backend)
    constant = assumed(program, assume)
    images = open_dataset(program.data, program.model, spec.parent if data is None else data)
    dtype = torch.float64 if forward == "float64" else None
    loaded = load(
        model,
        arch=arch,
        input_shape=program.model.input_shape,
        normalize=program.model.normalize,
        forward_dtype=dtype,
    )
    match_shapes(program, loaded, str(model))
    return Session(loaded, images, chosen, constant, (images.scaling,))
