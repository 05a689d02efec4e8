"""Derives what a certificate says of every image and property, from the logits on, in exact arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from hashlib import sha256
from typing import Any

import numpy as np
import torch

from robspec.ir.types import Degraded, Metric, Objective, Program, Property, WorstCaseQuery
from robspec.oracle.scene import Scene
from robspec.recheck.averages import AverageBook
from robspec.recheck.budget import budget_of, exponent, grid_bits, widened
from robspec.recheck.claims import Between, Within
from robspec.recheck.errors import NoCertificate
from robspec.recheck.image import Cut, Ledger, needs
from robspec.recheck.pooled import Pool
from robspec.recheck.weighted import WeightedBook
from robspec.semantics.constant import Constant
from robspec.semantics.norm import exact_text

BOOKS: dict[str, type[WeightedBook] | type[AverageBook]] = {"weighted": WeightedBook, "macro": AverageBook}
"""Families whose bound is relaxed."""


def refuse_unsupported(program: Program) -> None:
    """Stop before any work where properties have no certificate.

    Raises:
        NoCertificate: E0803, naming every such property and metric.
    """
    refused = [
        (prop.name, reason)
        for prop in program.properties
        for metric in metrics_of(prop)
        if (reason := _without_certificate(prop, metric))
    ]
    if refused:
        names = list(dict.fromkeys(name for name, _ in refused))
        reasons = "; ".join(dict.fromkeys(reason for _, reason in refused))
        several = len(names) > 1
        raise NoCertificate(
            f"{'properties' if several else 'property'} {', '.join(names)}",
            f"{reasons}, which `robspec recheck` does not derive anew",
            f"leave --certificate out, or put the {'properties' if several else 'property'} in a specification "
            f"of {'their' if several else 'its'} own",
        )


def _without_certificate(prop: Property, metric: Metric) -> str:
    """Say why a metric of a property is not derived anew; empty where it is."""
    quotient = metric.ratio is not None and metric.ratio.numerator.linear and metric.ratio.denominator.linear
    if metric.family == "pooled" and not quotient:
        return f"{metric.name} is pooled and no quotient of sums of counts"
    if metric.family in BOOKS and _combined(prop):
        return f"{metric.name}, of the {metric.family} family, stands in an `and` or `or`"
    return ""


def metrics_of(prop: Property) -> Iterator[Metric]:
    """List the metrics a property asks for."""
    if isinstance(prop.query, WorstCaseQuery):
        yield prop.query.metric
    else:
        for objective in prop.query.objectives:
            for leaf in conditions(objective):
                yield leaf.metric


def conditions(objective: Objective) -> Iterator[Degraded]:
    """List the single conditions of an objective."""
    if isinstance(objective, Degraded):
        yield objective
    else:
        for part in objective.parts:
            yield from conditions(part)


def _combined(prop: Property) -> bool:
    query = prop.query
    return not isinstance(query, WorstCaseQuery) and any(not isinstance(o, Degraded) for o in query.objectives)


class Deriver:
    """Takes images one after the other and derives what a certificate says of them.

    Args:
        program: the compiled specification, without unsupported properties.
        constants: of each property.
    """

    def __init__(self, program: Program, constants: Sequence[Constant]) -> None:
        self._program = program
        self._constants = tuple(constants)
        self._images: list[dict[str, Any]] = []
        self._points: list[list[dict[str, Any]]] = [[] for _ in program.properties]
        self._pools = {
            p.name: Pool(next(metrics_of(p)), exponent(c))
            for p, c in zip(program.properties, constants, strict=True)
            if next(metrics_of(p)).family == "pooled"
        }

    def add(
        self,
        names: Sequence[str],
        logits: torch.Tensor,
        labels: torch.Tensor | None,
        region: torch.Tensor | None,
        weights: torch.Tensor | None,
    ) -> None:
        """Derive a batch.

        Args:
            names: of the images.
            logits: [B, K, H, W], finite.
            labels: int64 [B, H, W], or None.
            region: bool [B, H, W], or None.
            weights: floating point [B, H, W], or None.
        """
        for i, name in enumerate(names):
            z = logits[i].detach().cpu().contiguous()
            shown = sha256(f"{z.dtype} {tuple(z.shape)}\n".encode())
            shown.update(z.reshape(-1).view(torch.uint8).numpy().tobytes())
            self._images.append({"image": name, "logits": shown.hexdigest()})
            double = np.ascontiguousarray(z.to(torch.float64).reshape(len(z), -1).T.numpy())
            rest = [None if t is None else t[i].detach().cpu().reshape(-1).numpy() for t in (labels, region)]
            weight = None if weights is None else weights[i].detach().cpu().reshape(-1).double().numpy()
            ledgers: dict[object, Ledger] = {}
            for number, (prop, constant) in enumerate(zip(self._program.properties, self._constants, strict=True)):
                scene = self._scene(double, rest[0], rest[1], weight, exponent(constant))
                if prop.name in self._pools:
                    self._pools[prop.name].add(scene)
                    continue
                if _family(prop) in BOOKS:
                    book = BOOKS[_family(prop)](next(metrics_of(prop)), scene)
                    self._points[number].append(_relaxed(name, prop, constant, book))
                    continue
                books = {}
                for metric in metrics_of(prop):
                    key = (metric, scene.q)
                    if key not in ledgers:
                        ledgers[key] = Ledger(metric, scene)
                    books[metric] = ledgers[key]
                self._points[number].append(_image(name, prop, constant, books, len(scene)))

    def finish(self) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
        """Give the images with the digests of their logits, and for every property what holds of each of them."""
        for number, (prop, constant) in enumerate(zip(self._program.properties, self._constants, strict=True)):
            if prop.name in self._pools:
                self._points[number] = [self._pools[prop.name].entry(prop, constant)]
        return self._images, self._points

    def _scene(
        self,
        z: np.typing.NDArray[np.float64],
        labels: np.typing.NDArray[Any] | None,
        region: np.typing.NDArray[Any] | None,
        weights: np.typing.NDArray[np.float64] | None,
        q: int | None,
    ) -> Scene:
        count, ignore = len(z), self._program.data.ignore
        known = np.zeros(count, np.int64) if labels is None else labels
        ignored = known == ignore if labels is not None and ignore is not None else np.zeros(count, np.bool_)
        inside = np.ones(count, np.bool_) if region is None else region
        return Scene(z, known, ignored, inside, np.ones(count) if weights is None else weights, q)


def _image(name: str, prop: Property, constant: Constant, books: dict[Metric, Ledger], pixels: int) -> dict[str, Any]:
    query = prop.query
    first = next(iter(books.values()))
    entry: dict[str, Any] = {
        "image": name,
        "clean": None if first.clean is None else exact_text(first.clean),
        "costs": [digest for book in books.values() for digest in book.digests],
        "grid": f"2^-{grid_bits(pixels)}",
    }
    if isinstance(query, WorstCaseQuery):
        entry["points"] = [_worst(books[query.metric], eps, constant, pixels) for eps in query.budgets]
    else:
        entry["points"] = [_radius(needs(o, books), constant, pixels) for o in query.objectives]
        entry["met"] = [_met(needs(o, books)) for o in query.objectives]
    return entry


def _family(prop: Property) -> str:
    return next(metrics_of(prop)).family


def _relaxed(name: str, prop: Property, constant: Constant, book: WeightedBook | AverageBook) -> dict[str, Any]:
    """What holds of an image whose bound is relaxed."""
    query = prop.query
    entry: dict[str, Any] = {
        "image": name,
        "clean": None if book.clean is None else exact_text(book.clean),
        "costs": list(book.digests),
        "grid": f"2^-{grid_bits(book.pixels)}",
    }
    if isinstance(query, WorstCaseQuery):
        entry["points"] = [book.point(eps, constant) for eps in query.budgets]
    else:
        leaves = [o for o in query.objectives if isinstance(o, Degraded)]
        entry["points"] = [book.reach(o, constant) for o in leaves]
        entry["met"] = [None if book.clean is None else book.meets(o, book.clean) for o in leaves]
    return entry


def _met(found: Cut | None) -> bool | None:
    """Whether the clean image meets an objective."""
    return None if found is None else found.cost == 0 and (found.leave, found.enter) == (0, 0)


def _worst(book: Ledger, eps: Fraction, constant: Constant, pixels: int) -> dict[str, Any]:
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


def _radius(cut: Cut | None, constant: Constant, pixels: int) -> dict[str, Any]:
    if cut is None:
        return {"cut": None, "needs": None, "certified": None}
    needed = cut.cost
    if isinstance(needed, float) or (constant.value == 0 and needed > 0):
        return {"cut": [cut.leave, cut.enter], "needs": _text(needed), "certified": "inf"}
    if needed == 0:
        return {"cut": [cut.leave, cut.enter], "needs": "0", "certified": "0"}

    def suffices(eps: Fraction) -> bool:
        return budget_of(eps, constant) >= needed

    def beyond(eps: Fraction) -> bool:
        return widened(budget_of(eps, constant), pixels) >= needed

    text = f"the largest double whose budget is below {_text(needed)}"
    return {"cut": [cut.leave, cut.enter], "needs": _text(needed), "certified": Within(suffices, beyond, text)}


def _text(cost: Fraction | float) -> str:
    return exact_text(cost)
