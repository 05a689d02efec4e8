"""What a certificate says of one image and property, as claims on each field."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, TypeAlias

from robspec.ir.types import AllOf, Degraded, Metric, Objective, Property, WorstCaseQuery
from robspec.oracle.rounded import grounded
from robspec.recheck.budget import budget_of, grid_bits, widened
from robspec.recheck.claims import Between, Claim, Combined, Within
from robspec.recheck.conditions import conditions, met
from robspec.recheck.counted import CountBook
from robspec.recheck.detections import ObjectsBook
from robspec.recheck.divided import RatioBook
from robspec.recheck.image import Cut, Ledger, needs
from robspec.recheck.relaxed import Relaxed
from robspec.semantics.constant import Constant
from robspec.semantics.norm import exact_text

Book: TypeAlias = Ledger | Relaxed | ObjectsBook | CountBook | RatioBook
Point: TypeAlias = dict[str, Any] | Claim | Combined


def image_entry(
    name: str,
    prop: Property,
    constant: Constant,
    books: Mapping[Metric, Book],
    pixels: int,
    best: Mapping[Metric, Fraction | None] | None = None,
) -> dict[str, Any]:
    """Derive what holds of an image.

    Args:
        name: of the image.
        prop: not pooled.
        constant: of the property.
        books: of every metric of the property, in the order they are asked for.
        pixels: of the image.
        best: where logits are rounded, what the clean image is worth at most by each metric; else None.

    Returns:
        Its entry, claims in place of the fields that rounding leaves room for.
    """
    query = prop.query
    clean = {metric: book.clean for metric, book in books.items()}
    first = next(iter(clean.values()))
    entry: dict[str, Any] = {
        "image": name,
        "clean": None if first is None else exact_text(first),
        "grid": f"2^-{grid_bits(pixels)}",
    }
    if not any(isinstance(book, ObjectsBook) for book in books.values()):
        # Of a detector they depend on the budget, and stand with each.
        entry["costs"] = [digest for book in books.values() for digest in book.digests]
    if best is not None:
        most = next(iter(best.values()))
        entry["best"] = None if most is None else exact_text(most)
    if isinstance(query, WorstCaseQuery):
        entry["points"] = [_worst(books[query.metric], eps, constant, pixels) for eps in query.budgets]
    else:
        asked = [o if best is None else grounded(o, best) for o in query.objectives]
        entry["points"] = [_reach(o, books, constant, pixels) for o in asked]
        entry["met"] = [met(o, clean if best is None else best) for o in asked]
    return entry


def _worst(book: Book, eps: Fraction, constant: Constant, pixels: int) -> Point:
    return worst(book, eps, constant, pixels) if isinstance(book, Ledger) else book.point(eps, constant)


def _reach(objective: Objective, books: Mapping[Metric, Book], constant: Constant, pixels: int) -> Point:
    ledgers = {metric: book for metric, book in books.items() if isinstance(book, Ledger)}
    if all(leaf.metric in ledgers for leaf in conditions(objective)):
        # The dearest or the cheapest cut is one of them, exactly.
        return radius(needs(objective, ledgers), constant, pixels)
    return _part(objective, books, constant, pixels)


def _part(objective: Objective, books: Mapping[Metric, Book], constant: Constant, pixels: int) -> Point:
    if isinstance(objective, Degraded):
        book = books[objective.metric]
        if isinstance(book, Ledger):
            return radius(book.needs(objective), constant, pixels)
        return book.reach(objective, constant)
    parts = tuple(_part(part, books, constant, pixels) for part in objective.parts)
    return Combined(isinstance(objective, AllOf), parts)


def worst(book: Ledger, eps: Fraction, constant: Constant, pixels: int) -> dict[str, Any]:
    """What holds within a budget of a metric whose worst case is exact."""
    budget = budget_of(eps, constant)
    if book.clean is None:
        return {"budget": exact_text(budget), "cut": None, "spent": None, "certified": None}
    exact, cut = book.worst(budget)
    wide, _ = book.worst(widened(budget, pixels))
    return {
        "budget": exact_text(budget),
        "cut": [cut.leave, cut.enter],
        "spent": exact_text(cut.cost),
        "certified": Between(exact, wide),
    }


def radius(cut: Cut | None, constant: Constant, pixels: int) -> dict[str, Any]:
    """What holds of a radius that is decided by the cheapest flips that meet the objective."""
    if cut is None:
        return {"cut": None, "needs": None, "certified": None}
    needed = cut.cost
    shown: dict[str, Any] = {"cut": [cut.leave, cut.enter], "needs": exact_text(needed)}
    if isinstance(needed, float) or (constant.value == 0 and needed > 0):
        return {**shown, "certified": "inf"}
    if needed == 0:
        return {**shown, "certified": "0"}

    def suffices(eps: Fraction) -> bool:
        return budget_of(eps, constant) >= needed

    def beyond(eps: Fraction) -> bool:
        return widened(budget_of(eps, constant), pixels) >= needed

    text = f"the largest double whose budget is below {exact_text(needed)}"
    return {**shown, "certified": Within(suffices, beyond, text)}
