"""The check itself: stream the data set through the model, answer every property, decide every requirement."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

import robspec
from robspec import arrays, stopping
from robspec.bounds.context import Context
from robspec.data.batching import default_batch_size
from robspec.ir.types import Detector, Program, Property, WorstCaseQuery
from robspec.kernels.knapsack import Backend
from robspec.semantics.constant import Constant
from robspec.semantics.smoothing import Smoothing
from robspec.verify import seen
from robspec.verify.census import Census
from robspec.verify.decide import decide
from robspec.verify.errors import NonFiniteLogitsError, ShapeMismatchError
from robspec.verify.evaluate import is_pooled, refuse_unsupported
from robspec.verify.found import Finder, Found, pools_of, portable
from robspec.verify.gained import Gained
from robspec.verify.remarks import remarks
from robspec.verify.result import CheckReport, ImageResult, PropertyResult, Times
from robspec.verify.smoothed import SmoothedEvaluator

if TYPE_CHECKING:
    import torch

    from robspec.arrays import Array
    from robspec.smoothing import sampling
    from robspec.verify.established import Established

_STANDS_ON = ("torch", "numpy", "numba", "orthogonium", "sympy", "lark")


class ImageBatch(Protocol):
    """What the check needs of a batch of data."""

    @property
    def names(self) -> tuple[str, ...]:
        """The images' names."""
        ...

    @property
    def images(self) -> torch.Tensor:
        """Float32 [B, C, H, W] in the declared range."""
        ...

    @property
    def labels(self) -> torch.Tensor | None:
        """int64 [B, H, W], or None."""
        ...

    @property
    def region(self) -> torch.Tensor | None:
        """bool [B, H, W], or None."""
        ...

    @property
    def weights(self) -> torch.Tensor | None:
        """float64 [B, H, W], or None."""
        ...


class ImageSource(Protocol):
    """What the check needs of a data set."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def batches(self, size: int) -> Iterator[ImageBatch]:
        """Stream the images in order."""
        ...


class LogitsModel(Protocol):
    """What the check needs of a model."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        ...

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Classes, height, width."""
        ...

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Run the model, [B, C, H, W] to [B, K, H, W]."""
        ...


class PlainModel(Protocol):
    """A model that may answer without torch, from what it remembers."""

    @property
    def plain(self) -> bool:
        """Whether it does, and images are given to it as numpy arrays."""
        ...

    def logits(self, images: Array) -> Array:
        """Run the model, or remember, [B, C, H, W] to [B, K, H, W]."""
        ...


Answers: TypeAlias = Sequence[Sequence[ImageResult]]
"""What was found of each image of a batch, property by property; empty for a pooled one."""


class Watch(Protocol):
    """What the check tells of a model's conduct; see `robspec.models.conduct`."""

    def meet(self, names: Sequence[str], images: Array, logits: Array) -> None:
        """Look at one batch and its logits."""
        ...

    def hear(self, images: int, channels: int, low: float, high: float, /) -> None:
        """Be told of a batch after the first, whose logits are elsewhere: how many images, and the extremes."""
        ...

    def finish(self) -> None:
        """Look back once all images are done."""
        ...


def nowhere(_batch: ImageBatch) -> Found | None:
    """No other process has found anything of any batch."""
    return None


def match_shapes(program: Program, model: LogitsModel, where: str) -> None:
    """Check that the specification speaks of this model.

    Args:
        program: the compiled specification.
        model: the loaded model.
        where: the model file, for the message.

    Raises:
        ShapeMismatchError: input or output shapes differ (E0402).
    """
    pairs = [
        ("input", program.model.input_shape, model.input_shape),
        ("output", program.model.output_shape, model.output_shape),
    ]
    if program.model.boxes_name:
        second = seen.second(model)
        given = () if second is None else second.output_shape
        pairs.append((f"output {program.model.boxes_name}", (4, program.model.output_shape[-1]), given))
    for name, declared, actual in pairs:
        if tuple(declared) != tuple(actual):
            raise ShapeMismatchError(
                where,
                f"the specification declares {name} {list(declared)}, the model has {list(actual)}",
                f"write {list(actual)} in the specification, or export the model for {list(declared)}",
            )


def check(
    program: Program,
    model: LogitsModel | PlainModel,
    data: ImageSource,
    backend: Backend,
    established: Established,
    *,
    batch_size: int | None = None,
    pair_bound: bool = False,
    progress: Callable[[int], None] = lambda _: None,
    observe: Callable[[Context, Sequence[str], Answers], None] | None = None,
    times: Times | None = None,
    watch: Watch | None = None,
    sampled: LogitsModel | None = None,
    sampler: Callable[[sampling.Model, torch.Tensor, Smoothing, int], sampling.Counts] | None = None,
    elsewhere: Callable[[ImageBatch], Found | None] = nowhere,
) -> CheckReport:
    """Check every property of a program on every image of a data set.

    Args:
        program: the compiled specification.
        model: the loaded model, shapes already matched; cut before a fixed up-sampling where `established` has one.
        data: the images.
        backend: computes the knapsacks.
        established: the Lipschitz constant of each property, image to logits, and the decided claims.
        batch_size: images per forward pass; by default what keeps a batch of logits under 64 MiB, at most 8.
        pair_bound: whether to compare with the pair bound where water filling prices entering a class.
        progress: called with the number of images just finished.
        observe: called with each batch, the names of its images and what was certified of them, property by property.
        times: seconds already spent, added to.
        sampled: computes the logits of images under noise, which are not worth keeping; by default the model.
        sampler: counts decisions under noise; by default in this process.
        elsewhere: what was found of a batch by another process, None where it is to be found here. Logits are then
            asked of the model for the first batch, for what observes, and for pooled properties that need them.
        watch: told of every batch and its logits, and of the end of a run that was not interrupted; may refuse both.

    Returns:
        The report; incomplete, with every finished image kept, when interrupted by SIGINT or SIGTERM.

    Raises:
        NonFiniteLogitsError: an image's logits are not finite (E0401).
        InfiniteMeanError: a mean of radii contains infinity (E0404).
        RepeatedImages: an image occurs twice and something is claimed with confidence (E0407).
    """
    refuse_unsupported(program)
    times = times or Times()
    began = time.perf_counter()
    constants = established.constants
    found: list[list[ImageResult]] = [[] for _ in program.properties]
    pairs = list(zip(program.properties, constants, strict=True))
    whole = pools_of(program, constants)
    finder = Finder(program, constants, pair_bound=pair_bound, pools=whole)
    near = not portable(program, coarse=established.tail is not None)
    smoothed = SmoothedEvaluator(
        program,
        cast("sampling.Model", sampled or model),
        backend,
        len(data),
        apart=established.apart,
        sampler=sampler,
    )
    census = Census(program)
    plain = getattr(model, "plain", False)
    tail, gained = established.tail, Gained(pairs if established.tail is not None else ())
    evaluated, forward = 0, "float32"
    size = batch_size or default_batch_size(program.model)
    try:
        batches = data.batches(size)
        while True:
            mark = time.perf_counter()
            batch = next(batches, None)
            times.load += time.perf_counter() - mark
            if batch is None:
                if watch is not None:
                    watch.finish()
                break
            mark = time.perf_counter()
            known = elsewhere(batch)
            times.forward += time.perf_counter() - mark
            needed = known is None or near or observe is not None or not evaluated
            if known is not None and known.contents and not needed:
                census.hear(batch.names, known.contents)
                images, logits = None, None
            else:
                mark = time.perf_counter()
                images = getattr(batch, "arrays", batch).images if plain else batch.images
                census.meet(batch.names, images)
                times.load += time.perf_counter() - mark
                mark = time.perf_counter()
                logits = model.logits(images) if needed else None
                # Before anything is added up: sampling takes long, and what is interrupted leaves no half of a batch.
                smoothed.meet(images)
                times.forward += time.perf_counter() - mark
            if watch is not None:
                _tell(watch, batch.names, images, logits, known)
            mark = time.perf_counter()
            context = None
            if logits is not None:
                forward = arrays.kind(logits)
                context = seen.context(program, backend, model, logits, batch, tail)
                refuse_non_finite(context, batch.names)
            known = known or finder.find(context, batch.names, predicted=census.wanting)
            answers = list(known.answers)
            gained.take(known.answers, known.full)
            whole.take(known.pooled, context)
            for i, (p, _) in enumerate(pairs):
                if p.smoothing is not None:
                    answers[i] = smoothed.answer(p, p.smoothing, batch)
            if observe is not None and context is not None:
                observe(context, batch.names, answers)
            times.bound += time.perf_counter() - mark
            for results, answer in zip(found, answers, strict=True):
                results.extend(answer)
            census.take(batch.names, known.counted)
            evaluated += len(batch.names)
            progress(len(batch.names))
    except KeyboardInterrupt:
        pass  # what is finished is kept; the report says that it is incomplete
    except BaseException:
        whole.close()
        smoothed.close()
        raise
    complete = evaluated == len(data)
    forward = forward if evaluated else "float32"
    mark = time.perf_counter()
    # All images are through: a signal that comes now must not take them with it.
    with stopping.held():
        for (p, _), results in zip(pairs, found, strict=True):
            if p.smoothing is not None:
                results.extend(smoothed.conclude(p) if is_pooled(p) else ())
            elif is_pooled(p):
                results.extend(whole.answer(p.name))
        whole.close()
        smoothed.close()
        times.bound += time.perf_counter() - mark
        properties = tuple(
            property_result(p, c, images, complete=complete) for (p, c), images in zip(pairs, found, strict=True)
        )
    times.total += time.perf_counter() - began
    return CheckReport(
        program=program,
        properties=properties,
        claims=established.claims,
        images=len(data),
        evaluated=evaluated,
        backend=backend.name,
        forward=forward,
        hashes={},
        versions=versions(),
        times=times,
        notes=established.notes + notes(program, forward, established.arithmetic, established.unreal),
        remarks=(*remarks(program, census, properties), *smoothed.notes(), *gained.notes()),
    )


def _tell(
    watch: Watch, names: Sequence[str], images: Array | None, logits: Array | None, known: Found | None
) -> None:
    """Tell of a batch: by its logits where they are at hand."""
    if logits is not None and images is not None:
        watch.meet(names, images, logits)
    elif known is not None and known.extremes is not None:
        watch.hear(len(names), known.extremes.channels, known.extremes.low, known.extremes.high)


def property_result(
    prop: Property, constant: Constant, images: Sequence[ImageResult], *, complete: bool
) -> PropertyResult:
    """Decide every requirement of a property.

    Args:
        prop: the property.
        constant: what its bounds stand on.
        images: what was found of each image.
        complete: whether that is the whole data set.
    """
    query = prop.query
    points = len(query.budgets if isinstance(query, WorstCaseQuery) else query.objectives)
    requirements = tuple(
        decide(prop, requirement, images, point, points, complete=complete)
        for requirement in prop.requirements
        for point in range(points)
    )
    return PropertyResult(prop, constant, tuple(images), requirements)


def refuse_non_finite(context: Context, names: Sequence[str]) -> None:
    """Stop at the first image whose logits are not all finite.

    Raises:
        NonFiniteLogitsError: E0401, naming it.
    """
    for name, finite in zip(names, context.finite(), strict=True):
        if not finite:
            raise NonFiniteLogitsError(
                name,
                "the model's logits hold a NaN, an infinity or a number beyond 2^500 on this image",
                "run the model on this image alone, or check with --forward float64",
            )


def versions() -> dict[str, str]:
    """List the versions a result depends on; what belongs to an extra that is not installed takes no part in it."""
    found = {"robspec": robspec.__version__, "python": platform.python_version()}
    for name in _STANDS_ON:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def notes(program: Program, forward: str, arithmetic: str = "", unreal: str = "") -> tuple[str, ...]:
    """State what every verdict of a report takes for granted.

    Args:
        program: the compiled specification.
        forward: the dtype of the forward pass.
        arithmetic: what is said of its rounding, where it is not taken as exact.
        unreal: why it is, where nobody asked for that; else empty.

    Returns:
        One line each.
    """
    why = f"; not about the reals because {unreal}" if unreal else ""
    lines = [arithmetic or f"arithmetic: forward pass in {forward} taken as exact{why}"]
    if program.model.detector is not None:
        lines.append(_detections(program.model.detector))
    if program.model.normalize is not None:
        lines.append("normalisation: applied by robspec before the model file; eps and L are in image units")
    return tuple(lines)


def _detections(detector: Detector) -> str:
    """What verdicts on objects take for granted, and how near their bounds come to the worst that is within reach."""
    if detector.match == "location":
        return "detections: by location, box-free; exact over the scores within reach but for the stated roundings"
    known = "frozen boxes, an assumption" if detector.boxes == "frozen" else "boxes that move as far as is proved"
    return f"detections: by overlap with {known}; a sound bound, not always attained over the scores within reach"
