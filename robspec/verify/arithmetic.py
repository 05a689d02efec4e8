"""Verdicts about the function over the reals: rounding is one more adversary, whose budget adds to L eps.

What a bound is asked is a budget larger by delta / L, and of a radius so much is taken off again; nothing that prices
flips needs to know. What images attain is judged in their favour: a class that is level within delta may be meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import torch
from torch.export import ExportedProgram

from robspec.errors import RobspecError, SoundnessAlarm
from robspec.ir.types import Program, Property, WorstCaseQuery
from robspec.lipschitz import directed
from robspec.lipschitz.rounding.cache import cached
from robspec.lipschitz.rounding.images import box_of
from robspec.lipschitz.rounding.recursion import Rounding
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import directed_text
from robspec.verify.errors import NotProvableError, OptionValueError
from robspec.verify.result import Value

_REAL = "arithmetic: about the function over the reals; logits in float64 are within {} of it (l2), proved"
_ELEMENTARY = ", taking elementary functions to err by no more than several times what was seen of them"
_SUBNORMAL = 2.0**-1074
_NEGLIGIBLE = Fraction(1, 2**400)


def rounding_of(program: Program, graph: ExportedProgram) -> Rounding:
    """Bound what the forward pass in float64 may differ from the function that a model's graph denotes.

    Args:
        program: the compiled specification.
        graph: the exported program the logits come from.

    Raises:
        NotProvableError: E0403, some operation has no bound, or no l2 constant.
    """
    if not bool(torch.tensor(_SUBNORMAL, dtype=torch.float64) * 1.0):
        raise NotProvableError(
            "torch.set_flush_denormal(True)",
            "numbers below the normal ones become 0, which no bound of rounding allows for",
            "call torch.set_flush_denormal(False)",
        )
    try:
        return cached(graph, box_of(program))
    except SoundnessAlarm:
        raise
    except RobspecError as refusal:
        raise NotProvableError(
            refusal.where,
            f"the rounding of the forward pass has no bound: {refusal.what} ({refusal.code})",
            "leave out `--arithmetic real`: the forward pass is then taken as exact, and the report says so",
        ) from refusal


def said_of(rounding: Rounding) -> str:
    """The line of a report on a proof of rounding."""
    found = _REAL.format(directed_text(Fraction(rounding.delta), 12, up=True))
    return found + (_ELEMENTARY if rounding.assumes else "")


def with_rounding(constants: Sequence[Constant], delta: Fraction) -> tuple[Constant, ...]:
    """Put the rounding of the logits beside each constant that speaks of them.

    Raises:
        OptionValueError: E0601, a constant is assumed: of a graph that has none nothing is known of its rounding.
    """
    if any(c.status is ConstantStatus.ASSUMED for c in constants):
        raise OptionValueError(
            "--arithmetic",
            "a constant that is assumed says nothing of rounding",
            "leave out --assume-lipschitz, or --arithmetic real",
        )
    return tuple(c if c.status is ConstantStatus.SAMPLED else replace(c, rounding=delta) for c in constants)


def asked(prop: Property, constant: Constant) -> tuple[Property, Constant]:
    """Say what a bound is asked, so that what it certifies holds of the function over the reals.

    Args:
        prop: a property.
        constant: of the property, with the rounding of its logits.

    Returns:
        The same where nothing is rounded. Else budgets and a constant whose products are at least L eps + delta.
    """
    if not constant.rounding or not isinstance(prop.query, WorstCaseQuery):
        return prop, bare(constant)
    budgets = tuple((eps if constant.value else Fraction(0)) + _shift(constant) for eps in prop.query.budgets)
    return replace(prop, query=replace(prop.query, budgets=budgets)), bare(constant)


def bare(constant: Constant) -> Constant:
    """Give the constant that bounds are asked with: without rounding, and never 0 where something is rounded.

    Beside rounding a constant that is out of all proportion is made larger, which keeps quotients within doubles.
    """
    if not constant.rounding:
        return constant
    value = max(constant.value, constant.rounding * _NEGLIGIBLE) if constant.value else Fraction(1)
    return replace(constant, rounding=Fraction(0), value=value)


def lessened(radius: Value | None, constant: Constant) -> Value | None:
    """Take from a radius what rounding may use up; of a constant network all or nothing.

    Args:
        radius: as certified with what `asked` gave.
        constant: of the property.

    Returns:
        A radius of the function over the reals, 0 at least.
    """
    if not constant.rounding or radius is None or isinstance(radius, float):
        return radius
    left = max(radius - _shift(constant), Fraction(0))
    return left if constant.value or not left else float("inf")


def reach(constant: Constant) -> Fraction:
    """Rounding as a budget of what `bare` gives."""
    return _shift(constant)


def _shift(constant: Constant) -> Fraction:
    """Rounding as a distance of images, rounded up to a double."""
    return Fraction(directed.ceil_float(constant.rounding / bare(constant).value))


def favourable(logits: torch.Tensor, labels: torch.Tensor | None, delta: Fraction, rank: int = 1) -> torch.Tensor:
    """Decide for the label wherever rounding leaves that open.

    Args:
        logits: [B, K, H, W], float64.
        labels: int64 [B, H, W], or None; other numbers than classes are passed over.
        delta: bound of the l2 norm of the error of one image's logits.
        rank: among how many of the largest logits a label has to be.

    Returns:
        Logits of which every metric that only gains from right decisions is at least what it is over the reals.
    """
    if labels is None:
        return logits
    reach = 2.0 * directed.ceil_float(delta) * (1.0 + 1e-9)
    labels = labels.to(logits.device)
    if logits.shape[1] == 1:
        near = logits[:, 0].abs() <= reach
        found = logits.clone()
        sure = torch.where(labels == 1, 1.0, -1.0).to(logits.dtype)
        found[:, 0] = torch.where(near & ((labels == 0) | (labels == 1)), sure, logits[:, 0])
        return found
    classes = logits.shape[1]
    named = (labels >= 0) & (labels < classes)
    index = labels.clamp(0, classes - 1)[:, None]
    own = logits.gather(1, index)
    top = logits.amax(1, keepdim=True)
    # The difference is rounded once, which the ninth digit covers.
    bar = top if rank == 1 else logits.topk(min(rank, classes), dim=1).values[:, -1:]
    near = named[:, None] & (bar - own <= reach)
    raised = torch.where(near, top + torch.clamp(top.abs(), min=1.0), own)
    return logits.scatter(1, index, raised)
