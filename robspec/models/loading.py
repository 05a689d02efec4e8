"""Loading a model file into something that maps images to logits, always in the same way."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor
from torch.export.graph_signature import InputKind

from robspec.arrays import Array, tensor
from robspec.function.errors import OneSign
from robspec.function.head import Head, needed, peel, peel_sigmoid
from robspec.function.layout import read
from robspec.function.nodes import operation
from robspec.function.program import GraphProgram, declared
from robspec.function.ranges import output_range
from robspec.function.running import FLOATS, Runner, exact_arithmetic
from robspec.function.settle import settle
from robspec.ir.types import Detector, Normalize
from robspec.models.choice import WHOLE, Choice
from robspec.models.errors import (
    ArchitectureError,
    BareWeights,
    ForwardFailed,
    InconsistentArchive,
    ModelChoice,
    ModelInterface,
)
from robspec.models.inspect import Kind, read_file, recognise
from robspec.models.rebuild import rebuild
from robspec.models.sanitise import Checked, check_archive
from robspec.models.shapes import check_shapes


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """The batch sizes a program accepts.

    Args:
        low: smallest.
        high: largest; None for no limit.
    """

    low: int
    high: int | None

    @property
    def fixed(self) -> bool:
        """True when only one size is accepted."""
        return self.low == self.high

    def __str__(self) -> str:
        if self.fixed:
            return str(self.low)
        return f"{self.low} to {self.high}" if self.high is not None else f"{self.low} or more"


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run.

    Args:
        path: the file.
        sha256: of the file's bytes, the very ones that were loaded.
        program: the one function that is proved and run: constants folded, a last sigmoid or softmax taken off;
            without the normalisation.
        input_shape: C, H, W.
        output_shape: K, H, W; K alone where an image is judged as a whole.
        batch: the batch sizes the program accepts.
        dtype: the program's own floating-point dtype.
        forward_dtype: the dtype it is run in.
        device: where it is run.
        normalize: applied before the program, or None.
        peeled: last operations of the file that were taken off, such as sigmoid, outermost first.
        left_out: names of a file of weights that `prefix` left out.
        choice: which part of the file it is.
        remarks: how the file was read, in lines for a report.
        second: of a detector with boxes, the same file's second output; else None.
    """

    path: Path
    sha256: str
    program: GraphProgram
    input_shape: tuple[int, int, int]
    output_shape: tuple[int, ...]
    batch: BatchSizes
    dtype: torch.dtype
    forward_dtype: torch.dtype
    device: torch.device
    normalize: Normalize | None
    peeled: tuple[str, ...]
    left_out: tuple[str, ...]
    choice: Choice
    remarks: tuple[str, ...]
    _runner: Runner = field(repr=False, compare=False)
    _checked: set[int] = field(repr=False, compare=False)
    second: LoadedModel | None = None

    def logits(self, images: Array) -> Tensor:
        """Compute the logits of any number of images, with gradients, autocast and TF32 off.

        Args:
            images: [B, C, H, W] in the units of the declared input, any floating dtype, any device.

        Returns:
            [B, K, H, W] in the forward dtype, on the model's device, H and W 1 where an image is judged as a whole.
            Batches larger than the program accepts are cut; smaller ones are filled up with the last image, and the
            extra results dropped.

        Raises:
            ForwardFailed: E0215, wrong input or output shape, or an error inside the program.
            InconsistentArchive: E0212, the shapes the file declares are false for this batch size.
        """
        images = tensor(images)
        if images.ndim != 4 or tuple(images.shape[1:]) != self.input_shape:
            raise ForwardFailed(
                str(self.path),
                f"the images are {list(images.shape)}, the model takes {['B', *self.input_shape]}",
                "correct the `input` of the specification",
            )
        count = images.shape[0]
        size = max(self.batch.low, count if self.batch.high is None else min(count, self.batch.high))
        with exact_arithmetic(self.device):
            parts = [self._run(images[i : i + size]) for i in range(0, count, size)]
        if not parts:
            return torch.empty((0, *self._plane), dtype=self.forward_dtype, device=self.device)
        return torch.cat(parts)

    @property
    def _plane(self) -> tuple[int, ...]:
        first, *sides = self.output_shape
        return (first, *(1,) * (2 - len(sides)), *sides)

    def differentiable(self, images: Tensor) -> Tensor:
        """Compute the logits as `logits` does, so that gradients reach the images.

        Args:
            images: as for `logits`; those that require gradients get them.

        Returns:
            [B, K, H, W].
        """
        size = max(self.batch.low, images.shape[0] if self.batch.high is None else self.batch.high)
        with exact_arithmetic(self.device), torch.enable_grad():
            return torch.cat([self._run(images[i : i + size]) for i in range(0, images.shape[0], size)])

    def in_double(self) -> LoadedModel:
        """Give the same program run in float64: what its float32 logits stand for but for rounding."""
        return self.run_in(torch.float64)

    def run_in(self, dtype: torch.dtype) -> LoadedModel:
        """Give the same program, and that of a detector's boxes, run in a type.

        Args:
            dtype: the program's own, or float64.
        """
        if dtype == self.forward_dtype:
            return self
        runner = Runner(self.program, self.dtype, dtype, self.device)
        second = None if self.second is None else self.second.run_in(dtype)
        return replace(self, forward_dtype=dtype, _runner=runner, second=second)

    def ending_earlier(self, program: GraphProgram, output_shape: tuple[int, ...]) -> LoadedModel:
        """Give the part of the same file that computes what its end works on.

        Args:
            program: this model's up to one of its nodes.
            output_shape: of what that node computes of one image.
        """
        runner = Runner(program, self.dtype, self.forward_dtype, self.device)
        return replace(self, program=program, output_shape=output_shape, _runner=runner, _checked=set())

    def _run(self, images: Tensor) -> Tensor:
        count = images.shape[0]
        # What a convolution rounds depends on the order in memory, and kernels are asked about in this one.
        given = images.to(device=self.device, dtype=self.forward_dtype).contiguous()
        if count < self.batch.low:
            given = torch.cat([given, given[-1:].expand(self.batch.low - count, -1, -1, -1)])
        if self.normalize is not None:
            given = (given - _channels(self.normalize.mean, given)) / _channels(self.normalize.std, given)
        expected = (given.shape[0], *self.output_shape)
        bare = (given.shape[0],) if self.output_shape == (1,) else expected  # a score without an axis of its own
        if given.shape[0] not in self._checked:
            check_shapes(self.program, tuple(given.shape), self.dtype, str(self.path))
            self._checked.add(given.shape[0])
        written = self._runner.writes()
        try:
            result = self._runner.images_to_logits(given)
        except torch.OutOfMemoryError:
            raise  # of a device: nothing is wrong with the program
        except Exception as error:
            raise ForwardFailed(
                str(self.path), f"the program failed: {str(error)[:500]}", "run it on one image yourself"
            ) from error
        if tuple(result.shape) not in (expected, bare) or self._runner.writes() != written:
            raise ForwardFailed(
                str(self.path),
                f"the program returned {list(result.shape)}, not {list(expected)}, or wrote to its weights",
                "export the model again in evaluation mode",
            )
        return result[:count].reshape(count, *self._plane)


def load(
    path: Path,
    *,
    arch: str | None = None,
    key: str | None = None,
    prefix: str = "",
    input_shape: tuple[int, int, int] | None = None,
    normalize: Normalize | None = None,
    forward_dtype: torch.dtype | None = None,
    device: str = "cpu",
    scores: bool = False,
    choice: Choice = WHOLE,
    detector: Detector | None = None,
    boxes: bool = False,
) -> LoadedModel:
    """Load a model file, treating it as hostile until shown otherwise.

    Args:
        path: a torch.export archive or an ONNX model under any name; or, with `arch`, weights.
        arch: `package.module:factory` that builds the network of bare weights, from your own code; of weights only.
        key: which table of a checkpoint, with `arch`.
        prefix: what the wanted names of the weights begin with, taken off; with `arch`.
        input_shape: C, H, W; needed with `arch`, and where the file leaves sides of its images free.
        normalize: applied before the program.
        forward_dtype: float32 or float64; the program's own by default.
        device: where to run it.
        scores: whether the output is a number to rank and to compare with thresholds, not logits: it is taken as it
            is, with a last sigmoid, and may have one sign.
        choice: which of several outputs and inputs is meant.
        detector: of a model that scores locations, what becomes of the scores; None for any other.
        boxes: whether it returns boxes too, as its second output.

    Returns:
        The model, read from one reading of the file.

    Raises:
        RobspecError: E0201 to E0212, E0221 to E0226; E0211 also for an archive and an `arch`, which could not both
            hold.
    """
    where = str(path)
    blob = read_file(path)
    kind = recognise(blob, where)
    digest = hashlib.sha256(blob).hexdigest()
    if kind in (Kind.EXPORTED, Kind.ONNX) and arch is not None:
        raise ArchitectureError(
            where,
            f"the file holds its own network, so that --arch {arch} would have no effect",
            "leave --arch out, or name the file of weights that it is to build the network of",
        )
    left_out: list[str] = []
    remarks: tuple[str, ...] = ()
    if kind is Kind.EXPORTED:
        if boxes:
            return _detector(blob, path, digest, normalize, forward_dtype, device, detector, choice, input_shape)
        checked = check_archive(blob, where, choice, input_shape)
    elif kind is Kind.ONNX:
        from robspec.models.onnx.convert import import_onnx

        imported = import_onnx(blob, path, choice, input_shape)
        digest, remarks = imported.sha256, (imported.described(),)
        checked = check_archive(imported.archive, where)
    else:
        archive, left_out = _export_weights(blob, kind, arch, key, prefix, input_shape, where)
        checked = check_archive(archive, where)
    del blob
    found = _opened(
        _rebuilt(checked, where), path, digest, normalize, forward_dtype, device, scores, detector, left_out
    )
    return replace(found, choice=choice, remarks=remarks)


def _detector(
    blob: bytes,
    path: Path,
    digest: str,
    normalize: Normalize | None,
    forward_dtype: torch.dtype | None,
    device: str,
    detector: Detector | None,
    choice: Choice,
    shape: tuple[int, int, int] | None,
) -> LoadedModel:
    """Read one file as two functions of the image: its scores and its boxes."""
    where = str(path)
    if choice.output is not None:
        mend = "leave out --model-output, or declare no boxes in the specification"
        raise ModelInterface(where, "a detector with boxes is its first two outputs, scores and boxes", mend)
    given = (path, digest, normalize, forward_dtype, device, False)
    try:
        parts = [check_archive(blob, where, replace(choice, output=str(n)), shape) for n in (0, 1)]
    except ModelChoice as error:
        if not error.what.startswith("the model returns"):
            raise
        mend = "export a module that returns (scores, boxes), or declare no boxes in the specification"
        raise ModelChoice(where, f"the specification declares scores and boxes, {error.what}", mend) from error
    first, second = (
        _opened(_rebuilt(part, where), *given, kind, []) for part, kind in zip(parts, (detector, BOXES), strict=True)
    )
    return replace(first, second=second)


BOXES = Detector("score", Fraction(0), None, "overlap", None, 1, "free")
"""Boxes are taken as they are, as scores are that are compared with a threshold themselves."""


def _opened(
    program: GraphProgram,
    path: Path,
    digest: str,
    normalize: Normalize | None,
    forward_dtype: torch.dtype | None,
    device: str,
    scores: bool,
    detector: Detector | None,
    left_out: Sequence[str],
) -> LoadedModel:
    where = str(path)
    dtype, shape, batch = _image_input(program, where)
    sizes = {batch.low, batch.low + 1 if batch.high is None else min(batch.high, batch.low + 1)}
    outputs = [check_shapes(program, (n, *shape), dtype, where) for n in sorted(sizes)]
    output = outputs[0]
    sides = tuple(side for side in output.shape[1:] if isinstance(side, int))
    ranks = (1, 2, 4) if detector is None else (3,)
    if output.dim() not in ranks or output.dtype != dtype or output.shape[0] != min(sizes):
        raise ModelInterface(
            where,
            f"the model maps {[min(sizes), *shape]} {dtype} to {list(output.shape)} {output.dtype}, "
            "not to one map of logits, or one row of them, per image",
            "export a module that returns logits of shape [B, K, H, W], or [B, K] for one decision about each image"
            if detector is None
            else "export a module that returns scores of shape [B, K, N], and boxes of shape [B, 4, N]",
        )
    place = torch.device(device)
    chosen = dtype if forward_dtype is None else forward_dtype
    if torch.finfo(chosen).bits < torch.finfo(dtype).bits:
        raise ModelInterface(
            where,
            f"the model is in {dtype}; in {chosen} its weights would be others than those the proof speaks of",
            "run it in its own type, or export the model after .float()",
        )
    settled = settle(program)
    if detector is not None:
        alone = needed(settled)
        head = peel_sigmoid(alone) if detector.of == "sigmoid" else Head(alone, ())
    else:
        head = Head(settled, ()) if scores else peel(settled)
    if not scores and detector is None and (output.dim() == 1 or output.shape[1] == 1):
        _check_sign(head, where)
    return LoadedModel(
        path=path,
        sha256=digest,
        program=head.program,
        input_shape=shape,
        output_shape=sides or (1,),
        batch=batch,
        dtype=dtype,
        forward_dtype=chosen,
        device=place,
        normalize=normalize,
        peeled=head.peeled,
        left_out=tuple(left_out),
        choice=WHOLE,
        remarks=(),
        _runner=Runner(head.program, dtype, chosen, place),
        _checked=sizes,
    )


def _check_sign(head: Head, where: str) -> None:
    """Refuse a single logit that cannot be on both sides of 0."""
    low, high = output_range(head.program)
    if low < 0.0 < high:
        return
    last = operation(read(head.program).output)
    raise OneSign(
        where,
        f"its single output, computed by {last}, is always in [{low:g}, {high:g}]: not a logit, whose sign decides",
        "return the logit itself, or two channels",
    )


def _export_weights(
    blob: bytes,
    kind: Kind,
    arch: str | None,
    key: str | None,
    prefix: str,
    shape: tuple[int, int, int] | None,
    where: str,
) -> tuple[bytes, list[str]]:
    if arch is None or shape is None:
        raise BareWeights(
            where,
            f"the file holds {kind.value}, without the network they belong to",
            "name it with --arch package.module:factory, or write an archive with `robspec export`",
        )
    from robspec.models.architecture import build, read_weights, without
    from robspec.models.export import export_archive

    module = build(arch)
    weights, left_out = without(prefix, read_weights(blob, kind, where, key=key), where)
    return export_archive(module, weights, shape, 64, arch).archive, left_out


def _rebuilt(checked: Checked, where: str) -> GraphProgram:
    """Build the program of a checked archive; whatever does not fit together is the archive's fault."""
    try:
        return rebuild(checked)
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()
        raise InconsistentArchive(
            where,
            f"its program cannot be rebuilt: {reason[-1][:300] if reason else repr(error)[:300]}",
            "export it again",
        ) from error


def _image_input(program: GraphProgram, where: str) -> tuple[torch.dtype, tuple[int, int, int], BatchSizes]:
    specs = program.graph_signature.input_specs
    nodes = [n for n in program.graph.nodes if n.op == "placeholder"]
    image = next(n for n, s in zip(nodes, specs, strict=True) if s.kind == InputKind.USER_INPUT)
    value = declared(image.meta["val"])
    if value is None:
        raise InconsistentArchive(where, "its image is no tensor", "export it again")
    sides = list(value.shape)
    rest = [side for side in sides[1:] if isinstance(side, int)]
    if len(sides) != 4 or len(rest) != 3 or value.dtype not in FLOATS:
        raise ModelInterface(
            where,
            f"its input is {[str(n) for n in sides]} {value.dtype}, not [B, C, H, W] in float32 or float64 "
            "with only B free",
            "export it with images of the declared shape, and at most the batch dimension dynamic",
        )
    if isinstance(sides[0], int):
        return value.dtype, (rest[0], rest[1], rest[2]), BatchSizes(sides[0], sides[0])
    if program.batch is None:
        raise InconsistentArchive(where, "the batch dimension has no range of its own", "export it again")
    low, high = max(1, program.batch[0]), program.batch[1]
    if high is not None and high < low:
        raise InconsistentArchive(where, f"its batch dimension is from {low} to {high}", "export it again")
    return value.dtype, (rest[0], rest[1], rest[2]), BatchSizes(low, high)


def _channels(values: tuple[Fraction, ...], like: Tensor) -> Tensor:
    return torch.tensor([float(v) for v in values], dtype=like.dtype, device=like.device)[:, None, None]
