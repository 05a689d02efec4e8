"""What is found of one batch: all that a check keeps of it, so that whoever has its logits can find it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from robspec.bounds._carried import Array
from robspec.bounds.context import Context
from robspec.bounds.dataset import readable
from robspec.ir.types import Program
from robspec.semantics.constant import Constant
from robspec.verify.census import Census, Counted
from robspec.verify.evaluate import BatchEvaluator, PooledEvaluator, is_pooled, metrics_of
from robspec.verify.gained import Gained
from robspec.verify.result import ImageResult


@dataclass(frozen=True, slots=True)
class Extremes:
    """What of logits a model's conduct is told by.

    Args:
        channels: of the logits.
        low: the smallest.
        high: the largest.
    """

    channels: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Found:
    """What is found of one batch.

    Args:
        answers: of each image, property by property; empty for those that are pooled or answered by smoothing.
        full: the same without a look at coarse logits, of the properties that look at them.
        counted: for the census.
        pooled: what is kept of it for pooled properties; may be computed as it is taken.
        extremes: of its logits; None where they are at hand.
        contents: of each image a digest of its pixels, where it was read elsewhere; empty where it was read here.
    """

    answers: list[list[ImageResult]]
    full: list[list[ImageResult]]
    counted: Counted
    pooled: Iterator[Array]
    extremes: Extremes | None = None
    contents: tuple[str, ...] = ()


class Finder:
    """Finds it, batch by batch, and keeps nothing.

    Args:
        program: the compiled specification.
        constants: of each property.
        pair_bound: whether to compare with the pair bound where water filling prices entering a class.
        pools: the pooled properties; by default those of the program that no samples answer.
    """

    def __init__(
        self,
        program: Program,
        constants: Sequence[Constant],
        *,
        pair_bound: bool = False,
        pools: PooledEvaluator | None = None,
    ) -> None:
        self._pairs = list(zip(program.properties, constants, strict=True))
        self._together = [(p, c) for p, c in self._pairs if not (is_pooled(p) or p.smoothing)]
        self._pair_bound = pair_bound
        self.pools = pools or pools_of(program, constants)
        self._census, self._gained = Census(program), Gained(self._pairs)

    def find(self, context: Context | None, names: Sequence[str], *, predicted: bool) -> Found:
        """Look at one batch.

        Args:
            context: its logits, all finite, and annotations.
            names: of its images.
            predicted: whether the classes that are predicted are to be told.

        Raises:
            ValueError: there are no logits.
        """
        if context is None:
            raise ValueError("there are no logits to look at")
        evaluator = BatchEvaluator(context, names, pairs=self._pair_bound, together=self._together)
        answers = [[] if is_pooled(p) or p.smoothing else evaluator.answer(p, c) for p, c in self._pairs]
        full = [] if context.coarse is None else self._gained.read(context, names)
        counted = self._census.read(context, predicted=predicted)
        return Found(answers, full, counted, self.pools.read(context))


def pools_of(program: Program, constants: Sequence[Constant]) -> PooledEvaluator:
    """Open the pooled properties of a program that no samples answer."""
    pairs = zip(program.properties, constants, strict=True)
    return PooledEvaluator([(p, c) for p, c in pairs if is_pooled(p) and p.smoothing is None], program.model.plane)


def portable(program: Program, *, coarse: bool = False) -> bool:
    """Whether what is found of a batch says all that a check keeps of it; if not, its logits are needed too.

    Args:
        program: the compiled specification.
        coarse: whether pooled properties look at cells of coarse logits, which are kept as they are.
    """
    pooled = [p for p in program.properties if is_pooled(p) and p.smoothing is None]
    return all(readable(metric) and not coarse for p in pooled for metric in metrics_of(p.query))
