"""What a certified torchmetric asks, compiled by the language itself once the number of classes is known."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

from robspec.ir.types import Program, Property
from robspec.lower import compile_text
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.torchmetrics.errors import BadMetricArgument

Number: TypeAlias = float | str | Fraction
_LONGEST = 400
_CLASS = re.compile(r"\bc(\d{1,4})\b")
_RANK = re.compile(r"\btop_k\s*\(\s*(\d{1,4})\s*\)")
_SPEC = """language 1
param eps = 1
param threshold = 0
model {{
  input image [1, 1, 1] in [0, 1]
  output logits [{channels}, 1, 1]
  classes {names}
}}
data seen {{
  images "seen"
  masks "seen"
}}
property asked {{
{asked}
  require {require}
}}
"""


@dataclass(frozen=True, slots=True)
class Question:
    """A query and how its answers become one number.

    Args:
        asked: the statements of a property in the language, `eps` standing for the budget.
        quantity: "worst_case" or "radius".
        eps: the budget, or None for a radius.
        aggregate: "mean", "min" or "share".
        threshold: what each image must reach to count in a share.
    """

    asked: str
    quantity: str
    eps: Fraction | None
    aggregate: str
    threshold: Fraction

    @property
    def classes(self) -> int:
        """A number of classes it can be asked of: one more than it names or ranks, lest it be all of them."""
        return max([1, *(int(k) for k in (*_CLASS.findall(self.asked), *_RANK.findall(self.asked)))]) + 2

    def compiled(self, channels: int) -> Property:
        """Compile it for a number of logits per pixel.

        Raises:
            BadMetricArgument: E0711, the language refuses it; the message is the language's.
        """
        return _compiled(self, channels)

    def constant(self, lipschitz: Fraction, rounding: Fraction = Fraction(0)) -> Constant:
        """The constant of the attack's norm, towards l2 at the logits, as `robspec check` proves it."""
        norm = self.compiled(self.classes).query.norm
        return Constant(lipschitz, norm, L2, ConstantStatus.ASSUMED, rounding=rounding)

    def fingerprint(self, lipschitz: Fraction, ignore: int | None, rounding: Fraction = Fraction(0)) -> list[int]:
        """Tell it apart from every other question: 128 numbers below 16, of which no two questions share all.

        Of two questions the largest of each number is neither's own: the second half falls where the first rises.
        """
        told = (self, lipschitz, ignore, rounding) if rounding else (self, lipschitz, ignore)
        digest = hashlib.sha256(repr(told).encode()).hexdigest()
        digits = [int(digit, 16) for digit in digest]
        return [*digits, *(15 - digit for digit in digits)]


@lru_cache(maxsize=256)
def _compiled(question: Question, channels: int) -> Property:
    names = ", ".join(f"c{k}" for k in range(max(channels, 2)))
    overrides = {"threshold": question.threshold}
    if question.eps is not None:
        overrides["eps"] = question.eps
    found = []
    for relation in (">=", "<="):
        text = _SPEC.format(
            channels=channels, names=names, asked=question.asked, require=_require(question, relation)
        )
        program, diagnostics = compile_text(text, overrides)
        if program is not None:
            return _only(program)
        found.append([d for d in diagnostics if d.is_error])
    shown = min(found, key=len)[0]
    asked = " ".join(question.asked.split())
    mend = shown.mend or f"see `robspec explain {shown.code}`"
    raise BadMetricArgument(asked, f"{shown.message} ({shown.code})", mend)


def _require(question: Question, relation: str) -> str:
    if question.aggregate == "share":
        return f"{question.quantity} {relation} threshold for all images"
    bound = 1 if relation == "<=" else 0
    return f"{question.aggregate}({question.quantity}) {relation} {bound}"


def _only(program: Program) -> Property:
    (asked,) = program.properties
    return asked


def exact(name: str, value: Number) -> Fraction:
    """Read a number exactly: a float as the decimal it prints as, text as a decimal or a quotient.

    Args:
        name: of the argument, for the error.
        value: finite and at least 0.

    Raises:
        BadMetricArgument: E0711.
    """
    try:
        found = Fraction(repr(float(value))) if isinstance(value, float) else Fraction(value)
    except (ValueError, ZeroDivisionError, OverflowError, TypeError):
        found = None
    if found is None or found < 0 or len(str(value)) > _LONGEST:
        raise BadMetricArgument(name, f"{value!r:.60} is no number of at least 0", 'write it like 0.1 or "8/255"')
    return found


def reached(aggregate: str, threshold: Number | None) -> Fraction:
    """Read the threshold of a share; 0 for other aggregates, which have none.

    Args:
        aggregate: "mean", "min" or "share".
        threshold: as given, or None.

    Raises:
        BadMetricArgument: E0711, a share without threshold, or a threshold of something else.
    """
    if threshold is None:
        if aggregate == "share":
            what = "a share counts the images that reach a threshold, and none is given"
            raise BadMetricArgument("threshold", what, 'pass one, such as `aggregate="share", threshold=0.9`')
        return Fraction(0)
    if aggregate != "share":
        what = f"a threshold is given, and the aggregate is {aggregate!r:.40}, which has none"
        raise BadMetricArgument("threshold", what, 'leave it out, or ask for `aggregate="share"`')
    return exact("threshold", threshold)


def rounding_of(value: Number) -> Fraction:
    """Read what is said of rounding: 0 for "exact", else a number at least as large as the float or text given.

    Raises:
        BadMetricArgument: E0711.
    """
    if value == "exact":
        return Fraction(0)
    found = exact("arithmetic", value)
    return max(found, Fraction(value)) if isinstance(value, float) else found


def rounded_up(value: Number) -> Fraction:
    """Read a Lipschitz constant: of a float, the larger of the double itself and of the decimal it prints as.

    Raises:
        BadMetricArgument: E0711.
    """
    found = exact("lipschitz", value)
    if isinstance(value, float):
        found = max(found, Fraction(float(value)))
    if found == 0:
        raise BadMetricArgument("lipschitz", "a constant of 0 is no constant of a model", "give the proved bound")
    return found
