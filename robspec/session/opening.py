"""Opens what a check works on: model, data, backend and Lipschitz constant."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from robspec.data.batching import default_batch_size
from robspec.data.dataset import Dataset, open_dataset
from robspec.ir.types import Program
from robspec.kernels.knapsack import Backend
from robspec.models.choice import WHOLE, Choice
from robspec.models.conduct import refuse_statements_about_the_file
from robspec.models.names import listed
from robspec.verify.arithmetic import statement
from robspec.verify.backend import choose
from robspec.verify.errors import OptionValueError
from robspec.verify.established import Established
from robspec.verify.result import Times
from robspec.verify.run import match_shapes

if TYPE_CHECKING:
    from robspec.models.loading import LoadedModel


_UNREAL = "the network runs on a GPU, of whose rounding nothing is proved"


@dataclass(frozen=True, slots=True)
class Session:
    """Everything a check needs, opened and matched.

    Args:
        model: runs.
        data: the images looked at.
        backend: computes the bounds.
        established: constants.
        notes: qualify every verdict.
        times: spent so far.
        left_out: how many images of the data set are not looked at.
        wanted: how the model was loaded, the arguments of `load` beside its file.
        short: the model cut before a fixed up-sampling, where bounds look there; else None.
        arithmetic: what verdicts are about, "exact", "real" or "deployed".
        identity: where the model is remembered and not opened, what its logits are kept under; else None.
    """

    model: LoadedModel
    data: Dataset
    backend: Backend
    established: Established
    notes: tuple[str, ...]
    times: Times
    left_out: int = 0
    wanted: dict[str, Any] = field(default_factory=dict)
    short: LoadedModel | None = None
    arithmetic: str = "exact"
    identity: Mapping[str, str] | None = None

    @property
    def opened(self) -> Session:
        """The same with its model opened, and its proofs at hand.

        Raises:
            ModelIsAnother: E0608, it is not what is remembered.
        """
        found: Session = self if self.identity is None else cast("Any", self.model).session
        return found

    @property
    def runs(self) -> LoadedModel:
        """What computes the logits of a check."""
        return self.short or self.model


def open_session(
    program: Program,
    model: Path,
    spec: Path,
    *,
    data: Path | None,
    arch: str | None,
    key: str | None,
    prefix: str,
    assume: Fraction | None,
    backend: str,
    forward: str,
    arithmetic: str | None = "exact",
    unreal: str = "",
    certified: bool = False,
    limit: int | None = None,
    choice: Choice = WHOLE,
    like: Session | None = None,
    coarse: bool = False,
    device: str = "cpu",
) -> Session:
    """Open model, data and backend, cheapest checks first.

    Args:
        program: the compiled specification.
        model: the model file.
        spec: the specification file, whose folder the data globs start from.
        data: another folder for them to start from, or None.
        arch: architecture of a bare state_dict, or None.
        key: which table of a checkpoint, or None.
        prefix: what the weights' names have more, or empty.
        assume: a constant to stand on unproved, or None.
        backend: a backend's name, or "auto".
        forward: "model" or "float64".
        arithmetic: "exact"; or "real" or "deployed", what verdicts are about; the forward pass is in float64 then.
            None is "real" where that can be had, and "exact" where not.
        unreal: why nothing about the reals can be had where nobody asked for it; or empty.
        certified: whether a certificate is to be written.
        limit: how many images to look at, or None for all.
        choice: which part of the model file is meant.
        like: a session of the same model and options on other images, whose model is used again.
        coarse: whether bounds look at the logits before a fixed up-sampling that ends the network.
        device: where the model runs, "cpu" or "cuda:N"; what it rounds elsewhere than on the CPU is taken as nothing.

    Returns:
        The session.

    Raises:
        RobspecError: the model, the data or an option is wrong.
    """
    import torch

    from robspec.models.kernels import refuse_other_kernels
    from robspec.models.loading import load
    from robspec.verify.constant import before_tail, establish, rounded, with_coarse

    far = device != "cpu"
    if far and arithmetic not in (None, "exact"):
        raise ValueError("of what a GPU rounds nothing is proved")
    unreal = _UNREAL if far else unreal
    chosen = choose(backend, "cuda" if far else "cpu")
    began = time.perf_counter()
    wanted: dict[str, Any] = {
        "arch": arch,
        "key": key,
        "prefix": prefix,
        "input_shape": program.model.input_shape,
        "normalize": program.model.normalize,
        "scores": program.model.task.scores,
        "forward_dtype": torch.float64 if forward == "float64" else None,
        "device": device,
        "choice": choice,
        "detector": program.model.detector,
        "boxes": bool(program.model.boxes_name),
    }
    shared = None if like is None or like.identity is not None else like.model
    loaded = load(model, **wanted) if shared is None else shared
    match_shapes(program, loaded, str(model))
    refuse_statements_about_the_file(loaded, claims=program.model.claim is not None, assumes=assume is not None)
    images, about, left = images_of(program, spec, data, limit)
    times = Times(load=time.perf_counter() - began)
    began = time.perf_counter()
    graphs = (loaded.program, None if loaded.second is None else loaded.second.program)
    if arithmetic is None:
        stated, unreal = statement(program, *graphs, unreal)
    else:
        stated, unreal = arithmetic, ""

    def found(stated: str) -> Established:
        wide = stated != "exact" or forward == "float64"
        starts = first_images(images, program)
        exact = establish(program, graphs[0], assume=assume, starts=starts, boxes=graphs[1], wide=wide)
        return rounded(program, exact, *graphs, stated, certified=certified)

    try:
        established = found(stated)
    except OptionValueError as refusal:
        if arithmetic is not None or stated == "exact":
            raise
        stated, unreal = "exact", refusal.what
        established = found(stated)
    established = replace(established, unreal=unreal)
    wide = stated != "exact" or forward == "float64"
    wanted["forward_dtype"] = torch.float64 if wide else None
    loaded = loaded.run_in(torch.float64 if wide else loaded.dtype)
    # Where rounding is proved, that of finer pixels to float32 is part of it.
    images = replace(images, wide=wide and stated == "exact")
    if stated == "deployed":
        seen = [refuse_other_kernels(m, default_batch_size(program.model)) for m in (loaded, loaded.second) if m]
        text = f"kernels: {', '.join(dict.fromkeys(seen))}; torch {torch.__version__}, full float32, no transforms"
        established = replace(established, notes=(*established.notes, text))
    short = None
    if coarse:
        established = with_coarse(program, established, loaded.program, stated)
        short = before_tail(loaded)
    times.prove = time.perf_counter() - began
    times.total = times.load + times.prove
    notes = (*weights_notes(loaded, key, prefix), images.scaling, *about)
    return Session(loaded, images, chosen, established, notes, times, left, wanted, short, stated)


def images_of(
    program: Program, spec: Path, data: Path | None, limit: int | None
) -> tuple[Dataset, tuple[str, ...], int]:
    """Open the images that are looked at; with what is to be said of the others, and their number."""
    images = open_dataset(program.data, program.model, spec.parent if data is None else data)
    whole = len(images)
    if limit is None or limit >= whole:
        return images, (), 0
    note = f"limit: the first {limit} of {whole} images; no verdict is about the others"
    return images.only(range(limit)), (note,), whole - limit


def weights_notes(model: LoadedModel, key: str | None, prefix: str) -> tuple[str, ...]:
    """Say which weights and which part of a file were taken, where an option chose them, and how it was read."""
    lines = [] if key is None else [f"weights: {key} of the model file"]
    lines += [*model.choice.described(), *model.remarks]
    if prefix:
        left = f"left out {len(model.left_out)}: {listed(model.left_out)}" if model.left_out else "none left out"
        lines.append(f"weights: those whose names begin with {prefix}; {left}")
    return tuple(lines)


def first_images(images: Dataset, program: Program) -> Iterator[npt.NDArray[np.floating]]:
    """Normalised images for the search of a counterexample to the claim; read only if it is searched."""
    normalize = program.model.normalize
    for batch in images.batches(1):
        image = batch.images[0].double().numpy()
        if normalize is not None:
            mean = np.array([float(m) for m in normalize.mean]).reshape(-1, 1, 1)
            std = np.array([float(s) for s in normalize.std]).reshape(-1, 1, 1)
            image = (image - mean) / std
        yield image
