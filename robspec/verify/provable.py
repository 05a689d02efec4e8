"""How far a requirement that stays unknown could be proved: the largest budget, by the code that certifies."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from robspec.bounds.context import Context
from robspec.ir.types import Program, Property, Requirement, WorstCaseQuery
from robspec.kernels.knapsack import Backend
from robspec.lipschitz.tail import Tail
from robspec.semantics.constant import Constant
from robspec.verify import seen
from robspec.verify.decide import decide
from robspec.verify.evaluate import BatchEvaluator, PooledEvaluator, is_pooled
from robspec.verify.result import ImageResult, Verdict
from robspec.verify.run import ImageSource, LogitsModel

_OCTAVES = 24
_STEPS = 32
_DIGITS = 4
_KEPT = 1 << 26


@dataclass(frozen=True, slots=True)
class Asked:
    """One requirement on worst cases that is not proved.

    Args:
        source: the property.
        constant: its Lipschitz constant.
        requirement: what is asked.
        budget: the smallest budget at which it is not proved; positive.
    """

    source: Property
    constant: Constant
    requirement: Requirement
    budget: Fraction


def largest_budgets(
    program: Program,
    asked: Sequence[Asked],
    model: LogitsModel,
    data: ImageSource,
    backend: Backend,
    size: int,
    tail: Tail | None = None,
) -> list[Fraction]:
    """Find the largest budget at which each requirement is proved, to about one part in a thousand.

    Args:
        program: the compiled specification.
        asked: what is to be searched.
        model: the model.
        data: the images, all of which the check has gone through.
        backend: computes the bounds.
        size: images per batch.
        tail: what follows the model where it was cut.

    Returns:
        For each, a budget of four digits at which the very code of the check proves it; 0 where even the budget over
        2^24 is not proved.
    """
    batches = _Batches(program, model, data, backend, size, tail)
    low = [Fraction(0)] * len(asked)
    high = [item.budget for item in asked]
    grids = [[item.budget / 2**k for k in range(1, _OCTAVES + 1)] for item in asked]
    for _ in range(3):
        tried = [sorted({_short(b) for b in grid} - {Fraction(0)}) for grid in grids]
        proved = _proved(program, asked, tried, batches)
        for index, (budgets, met) in enumerate(zip(tried, proved, strict=True)):
            low[index] = max((b for b, ok in zip(budgets, met, strict=True) if ok), default=low[index])
            high[index] = min((b for b in budgets if b > low[index]), default=high[index])
        grids = [
            [a + (b - a) * k / _STEPS for k in range(1, _STEPS)] if a else [] for a, b in zip(low, high, strict=True)
        ]
    return low


class _Batches:
    """The data set, once more: the logits are kept where they are few, and computed again where not."""

    def __init__(
        self,
        program: Program,
        model: LogitsModel,
        data: ImageSource,
        backend: Backend,
        size: int,
        tail: Tail | None,
    ) -> None:
        self._given = (program, model, data, backend, size, tail)
        self._kept: list[tuple[Context, tuple[str, ...]]] | None = None
        values = len(data)
        for side in model.output_shape:
            values *= side
        self._few = values <= _KEPT

    def __iter__(self) -> Iterator[tuple[Context, tuple[str, ...]]]:
        if not self._few:
            return self._computed()
        if self._kept is None:
            self._kept = list(self._computed())
        return iter(self._kept)

    def _computed(self) -> Iterator[tuple[Context, tuple[str, ...]]]:
        program, model, data, backend, size, tail = self._given
        for batch in data.batches(size):
            logits = model.logits(batch.images)
            yield seen.context(program, backend, model, logits, batch, tail), batch.names


def _proved(
    program: Program,
    asked: Sequence[Asked],
    budgets: Sequence[Sequence[Fraction]],
    batches: Iterable[tuple[Context, tuple[str, ...]]],
) -> list[list[bool]]:
    """Decide each requirement at each of its budgets."""
    sources = [_swept(item.source, tried) for item, tried in zip(asked, budgets, strict=True)]
    named = [replace(s, name=f"{k}") for k, s in enumerate(sources) if s is not None and is_pooled(s)]
    constants = {f"{k}": item.constant for k, item in enumerate(asked)}
    whole = PooledEvaluator([(s, constants[s.name]) for s in named], program.model.plane)
    found: list[list[ImageResult]] = [[] for _ in asked]
    try:
        for context, names in batches:
            evaluator = BatchEvaluator(context, names)
            for source, item, results in zip(sources, asked, found, strict=True):
                if source is not None and not is_pooled(source):
                    results.extend(evaluator.answer(source, item.constant))
            whole.add(context)
        for source in named:
            found[int(source.name)].extend(whole.answer(source.name))
    finally:
        whole.close()
    return [
        [] if source is None else [_met(source, item, results, point) for point in range(len(tried))]
        for source, item, results, tried in zip(sources, asked, found, budgets, strict=True)
    ]


def _swept(source: Property, budgets: Sequence[Fraction]) -> Property | None:
    if not budgets or not isinstance(source.query, WorstCaseQuery):
        return None
    return replace(source, query=replace(source.query, budgets=tuple(budgets)))


def _met(source: Property, item: Asked, results: Sequence[ImageResult], point: int) -> bool:
    query = item.source.query
    points = len(query.budgets) if isinstance(query, WorstCaseQuery) else 1
    return decide(source, item.requirement, results, point, points, complete=True).verdict is Verdict.PROVED


def _short(value: Fraction) -> Fraction:
    """Round down to four digits, so that what is reported is what was tried."""
    if value <= 0:
        return Fraction(0)
    place = next(k for k in itertools.count(_magnitude(value)) if value >= Fraction(10) ** -k)
    unit = Fraction(10) ** (_DIGITS - 1 + place)
    return Fraction(int(value * unit), 1) / unit


def _magnitude(value: Fraction) -> int:
    """A power of ten that is not below a positive number, by the digits of its parts."""
    return len(str(value.denominator)) - len(str(value.numerator)) - 2
