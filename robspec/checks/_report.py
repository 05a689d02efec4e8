"""How a check words what it found; its code comes from its module's name."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from robspec.diagnostics import Diagnostic, Severity, Span
from robspec.semantics.norm import decimal_text

if TYPE_CHECKING:
    from robspec.checks._spec import Spec


def _code(module: str) -> str:
    return module.rpartition(".")[2].partition("_")[0].upper()


def error(module: str, span: Span, message: str, mend: str, *notes: str) -> Diagnostic:
    """An error found by a check; `module` is its `__name__`."""
    return Diagnostic(_code(module), Severity.ERROR, span, message, mend, notes)


def warning(module: str, span: Span, message: str, mend: str, *notes: str) -> Diagnostic:
    """A warning found by a check; `module` is its `__name__`."""
    return Diagnostic(_code(module), Severity.WARNING, span, message, mend, notes)


def reported(module: str, spec: Spec) -> Iterator[Diagnostic]:
    """The problems with metrics that have the code of a check; `module` is its `__name__`."""
    for problem in spec.problems:
        if problem.code == _code(module):
            yield error(module, problem.span, problem.message, problem.mend, *problem.notes)


def shown(value: Fraction) -> str:
    """A number in a message; one of many digits is cut short."""
    text = decimal_text(value)
    return text if len(text) <= 24 else f"{text[:20]}..."


def count(number: int, word: str) -> str:
    """A number of things: 1 class, 3 classes."""
    plural = word + ("es" if word.endswith("s") else "s")
    return f"{number} {word if number == 1 else plural}"
