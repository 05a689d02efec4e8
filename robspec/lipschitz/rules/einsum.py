"""Sums over named dimensions of data with one constant tensor."""

from __future__ import annotations

import torch

from robspec.lipschitz.call import Call
from robspec.lipschitz.contraction import Factor, Label, Product, contract, factor
from robspec.lipschitz.values import Step, Value

OPERATIONS = ("einsum",)
DATA = ("tensors",)


def bound(call: Call) -> Step:
    """Write the sum as matrices that act on the data.

    Raises:
        NoGlobalConstant: two factors depend on the image, or there are more than two.
        MixedBatch: images are summed, or meet different constants.

    Source: MATH.md section 5.
    """
    found = product(call)
    return contract(call, found.value, found.labels, found.given, found.others, found.output)


def product(call: Call) -> Product:
    """Read what is multiplied and summed.

    Raises:
        NoGlobalConstant: two factors depend on the image, or there are more than two.
    """
    given = call.arguments.get("tensors")
    items: list[object] = list(given) if isinstance(given, list | tuple) else []
    data = [place for place, item in enumerate(items) if isinstance(item, Value)]
    if len(data) > 1:
        raise call.refuse(
            "the product of two tensors that both depend on the image has no global Lipschitz constant",
            "attention cannot be certified; use convolutions or products with constant matrices",
        )
    if len(items) > 2 or not data:
        raise call.refuse(
            f"einsum of {len(items)} tensors has no rule, that of data and one constant has",
            "multiply the constants first, in an einsum of their own",
        )
    value = items[data[0]]
    if not isinstance(value, Value):
        raise call.refuse("einsum has no factor that depends on the image")
    constant = Factor(torch.ones((), dtype=torch.float64))
    if len(items) == 2:
        constant = factor(call, items[1 - data[0]])
    ranks = [len(value.shape) if place == data[0] else constant.tensor.dim() for place in range(len(items))]
    inputs, output = _labels(call, str(call.get("equation")), ranks)
    others = inputs[1 - data[0]] if len(items) == 2 else ()
    return Product(value, inputs[data[0]], constant, others, output)


def _labels(call: Call, equation: str, ranks: list[int]) -> tuple[list[tuple[Label, ...]], tuple[Label, ...]]:
    """Read an equation: one label per dimension of each operand, and of the output."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise call.refuse("the equation of einsum does not fit its tensors")
    widest = max(
        (rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True) if "..." in term),
        default=0,
    )
    inputs = [
        _term(term, rank - len(term.replace("...", "")), widest) for term, rank in zip(terms, ranks, strict=True)
    ]
    if any(len(found) != rank for found, rank in zip(inputs, ranks, strict=True)):
        raise call.refuse("the equation of einsum does not fit its tensors")
    if arrow:
        return inputs, _term(right, widest, widest)
    letters = sorted(letter for letter in set(left) - set(".,") if left.count(letter) == 1)
    return inputs, (*range(widest), *letters)


def _term(term: str, hidden: int, widest: int) -> tuple[Label, ...]:
    """Label the dimensions of one term; those behind the dots are numbered, aligned at the right."""
    first, dots, last = term.partition("...")
    middle = range(widest - hidden, widest) if dots else range(0)
    return (*first, *middle, *last)
