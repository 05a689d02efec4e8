"""An archive that holds no pickle and passes the inspection, shown to compute what the module does."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from robspec.function.running import Runner, exact_arithmetic
from robspec.models.accumulate import accumulate
from robspec.models.architecture import put_weights
from robspec.models.choice import WHOLE, Choice
from robspec.models.errors import ExportFailed, ModelChoice
from robspec.models.explicit import explicit
from robspec.models.sanitise import clean_archive

_MOST_PASSES = 200
_PATH = re.compile(r'File "[^"]*?((?:(?<=site-packages[/\\])torch[/\\][^"]*)|[^"/\\]+(?:[/\\][^"/\\]+)?)"')


@dataclass(frozen=True, slots=True)
class Exported:
    """An archive and how it was verified.

    Args:
        archive: the bytes to write.
        explicit: names of the weights that were made explicit.
        difference: largest absolute difference between the archive's logits and the original module's.
        tolerance: the largest difference taken for rounding.
        output_shape: K, H, W; of a detector with boxes K, N.
        boxes_shape: of a detector with boxes 4, N; else empty.
        accumulating: how many sums of products accumulate in float64 that did not in the module.
    """

    archive: bytes
    explicit: tuple[str, ...]
    difference: float
    tolerance: float
    output_shape: tuple[int, ...]
    boxes_shape: tuple[int, ...] = ()
    accumulating: int = 0


def export_archive(
    network: nn.Module,
    weights: dict[str, Tensor] | None,
    shape: tuple[int, int, int],
    batch_max: int,
    where: str,
    *,
    traces: bool = True,
    accumulates: bool = False,
) -> Exported:
    """Turn a network into an archive of plain tensors, and compare what both compute.

    Args:
        network: maps [B, C, H, W] to [B, K, H, W], or to the scores [B, K, N] and boxes [B, 4, N] of a detector; put
            into evaluation mode.
        weights: loaded into it first, or None to keep its own.
        shape: C, H, W.
        batch_max: largest batch the archive accepts; 1 for a fixed batch of one.
        where: the network's name, for errors.
        traces: whether the archive says which lines of the network's code its nodes come from.
        accumulates: whether convolutions and linear layers accumulate in float64 and store float32.

    Returns:
        The archive.

    Raises:
        ArchitectureError: E0211, the weights do not fit.
        ExportFailed: E0213, torch cannot export it, or it computes something else.
        RobspecError: E0207 to E0212, the archive would not be accepted.
    """
    if weights is not None:
        put_weights(network, weights, where)
    network.eval()
    dtype = _dtype(network)
    images = torch.rand((1 if batch_max == 1 else 2, *shape), generator=torch.Generator().manual_seed(0))
    images = images.to(dtype)
    cpu = torch.device("cpu")
    try:
        with exact_arithmetic(cpu):
            before = _settled(network, images, where)
        with torch.no_grad():
            plain, names = explicit(network)
            program = _export(plain, images, batch_max, traces=traces)
            wide = accumulate(program) if accumulates else 0
    except (ExportFailed, ModelChoice):
        raise
    except Exception as error:
        raise ExportFailed(
            where, f"{type(error).__name__}: {str(error)[:1000]}", "see `robspec explain E0213`"
        ) from error
    saved = _save(program)
    parts = [clean_archive(saved, where, c) for c in _choices(len(before))]
    with exact_arithmetic(cpu):
        after = [_rerun(part, dtype, images) for part in parts]
    # Of two outputs the archive stays as torch wrote it: each was taken out of it, and inspected on its own.
    archive = saved if len(parts) > 1 else parts[0]
    differences = [_difference(one, other, where) for one, other in zip(before, after, strict=True)]
    difference, tolerance = max(differences, key=lambda pair: pair[0] / pair[1])
    shapes = [tuple(part.shape[1:]) for part in before]
    boxes = shapes[1] if len(shapes) > 1 else ()
    return Exported(archive, tuple(names), difference, tolerance, shapes[0], boxes, wide)


def _choices(outputs: int) -> list[Choice]:
    return [WHOLE] if outputs == 1 else [replace(WHOLE, output=str(n)) for n in range(outputs)]


def _difference(before: Tensor, after: Tensor, where: str) -> tuple[float, float]:
    """How far an output of the archive is from the module's, and how far it may be.

    Raises:
        ExportFailed: E0213, it is something else.
    """
    if before.shape != after.shape:
        what = f"the module returns {list(before.shape)}, its archive {list(after.shape)}"
        raise ExportFailed(where, what, "make what `forward` returns depend on the images alone")
    difference = float((before - after).abs().max())
    tolerance = 1e-4 * max(1.0, float(before.abs().max()))
    if not difference <= tolerance:
        raise ExportFailed(
            where,
            f"the archive's logits differ from the module's by {difference:.3g}",
            "call eval() in the factory, and make the module deterministic",
        )
    return difference, tolerance


def _settled(network: nn.Module, images: Tensor, where: str) -> tuple[Tensor, ...]:
    """The module's outputs once they stop changing: reading a weight may advance a power iteration.

    Raises:
        ExportFailed: E0213, it returns something else than one tensor, or the two of a detector, or writes to its
            input.
    """
    untouched = images._version
    before = _outputs(network(images), where)
    if images._version != untouched:
        raise ExportFailed(
            where,
            "the module writes to its input, the images themselves",
            "let forward begin with `images = images.clone()`, or write the operation out of place",
        )
    for _ in range(_MOST_PASSES):
        after = _outputs(network(images), where)
        pairs = list(zip(before, after, strict=True))
        if all(bool((new - old).abs().max() <= 1e-6 * old.abs().max()) for old, new in pairs):
            return after
        before = after
    return before


def _outputs(found: object, where: str) -> tuple[Tensor, ...]:
    if isinstance(found, Tensor):
        return (found,)
    if isinstance(found, tuple) and len(found) == 2 and all(isinstance(t, Tensor) and t.dim() == 3 for t in found):
        scores, boxes = found
        if boxes.shape[1] == 4 and boxes.shape[2] == scores.shape[2]:
            return scores, boxes
    keys = f" with {', '.join(map(repr, list(found)[:5]))}" if isinstance(found, dict) else ""
    raise ExportFailed(
        where,
        f"the module returns a {type(found).__name__}{keys}, not one tensor"[:300],
        "name the logits with --output KEY; or wrap it in a module whose `forward` returns the logits alone, "
        "`robspec explain E0213` shows one",
    )


def _export(plain: nn.Module, images: Tensor, batch_max: int, *, traces: bool) -> ExportedProgram:
    for parameter in plain.parameters():
        parameter.requires_grad_(False)
    dynamic = None
    if batch_max > 1:
        dynamic = ({0: torch.export.Dim("batch", min=1, max=batch_max)},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(plain, (images,), dynamic_shapes=dynamic, strict=False)
    for node in program.graph.nodes:
        trace = node.meta.pop("stack_trace", None)
        if trace and traces:
            node.meta["stack_trace"] = _PATH.sub(r'File "\1"', trace)
    return program


def _save(program: ExportedProgram) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, buffer)
    return buffer.getvalue()


def _dtype(network: nn.Module) -> torch.dtype:
    """What the network computes in: as its parameters are; constants alone may be stored in fewer bits."""
    found = [t.dtype for t in network.parameters() if t.is_floating_point()]
    found += [t.dtype for t in network.buffers() if t.dtype in (torch.float32, torch.float64)]
    return next(iter(found), torch.float32)


def _rerun(archive: bytes, dtype: torch.dtype, images: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(io.BytesIO(archive))
    return Runner(program, dtype, dtype, torch.device("cpu")).images_to_logits(images)
