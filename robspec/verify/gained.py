"""What a look at coarse logits gains over full-size ones, told once all images are through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from robspec.bounds.context import Context
from robspec.ir.types import Property, WorstCaseQuery
from robspec.notes import Figure, Note
from robspec.semantics.constant import Constant
from robspec.semantics.norm import decimal_text, directed_text
from robspec.verify.evaluate import BatchEvaluator, is_pooled
from robspec.verify.result import ImageResult


class Gained:
    """Sums over the images of a check.

    Args:
        properties: each with its constant; pooled ones, and those without one of coarse logits, are passed over.
    """

    def __init__(self, properties: Sequence[tuple[Property, Constant]]) -> None:
        self._asked = [(i, p, c) for i, (p, c) in enumerate(properties) if c.coarse is not None and not is_pooled(p)]
        self._found: dict[int, list[tuple[ImageResult, ImageResult]]] = {i: [] for i, _, _ in self._asked}

    def read(self, context: Context, names: Sequence[str]) -> list[list[ImageResult]]:
        """Answer a batch again without coarse logits, for each property that has them."""
        full = BatchEvaluator(context.full_size(), names)
        return [full.answer(prop, constant) for _, prop, constant in self._asked]

    def take(self, answers: Sequence[Sequence[ImageResult]], full: Sequence[Sequence[ImageResult]]) -> None:
        """Keep what was found of a batch.

        Args:
            answers: what was certified, property by property.
            full: what `read` gave.
        """
        for (i, _, _), results in zip(self._asked, full, strict=True):
            self._found[i] += zip(answers[i], results, strict=True)

    def notes(self) -> list[Note]:
        """One note for each property of which images were seen."""
        return [_note(p, self._found[i]) for i, p, _ in self._asked if self._found[i]]


def _note(prop: Property, pairs: Sequence[tuple[ImageResult, ImageResult]]) -> Note:
    better = sum(coarse.certified != full.certified for coarse, full in pairs)
    text = f"cells of coarse logits certify more on {better} of {len(pairs)} images than full-size logits do"
    figures: dict[str, Figure] = {"images": len(pairs), "better": better}
    if isinstance(prop.query, WorstCaseQuery):
        points = list(zip(prop.query.budgets, *(_means(side) for side in zip(*pairs, strict=True)), strict=True))
        shown = [
            f"{_percent(full)} % -> {_percent(coarse)} % at eps {decimal_text(eps)}"
            for eps, coarse, full in points
            if coarse is not None and full is not None
        ]
        text = f"{text}; mean {', '.join(shown)}" if shown else text
    return Note("coarse-gain", f"property {prop.name}", text, figures)


def _means(results: Sequence[ImageResult]) -> list[Fraction | None]:
    """Mean certified value at each budget, over the images of which the metric is defined."""
    columns = zip(*(result.certified for result in results), strict=True)
    kept = [[Fraction(v) for v in column if v is not None and v != math.inf] for column in columns]
    return [sum(column, Fraction(0)) / len(column) if column else None for column in kept]


def _percent(value: Fraction) -> str:
    return directed_text(100 * value, 2, up=False)
