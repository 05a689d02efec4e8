"""One located message, and the error that carries all messages of a run."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from robspec.diagnostics.span import NOWHERE, Source, Span
from robspec.errors import RobspecError


class Severity(enum.Enum):
    """Whether a diagnostic stops the run; its value is the word shown."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A located message about a specification.

    Args:
        code: stable code; `robspec explain CODE` prints its page.
        severity: error or warning.
        span: where, in the run's source.
        message: one sentence on what is wrong, without a final full stop.
        mend: one sentence on how to mend it; empty when the message says it.
        notes: further facts, one sentence each.
    """

    code: str
    severity: Severity
    span: Span
    message: str
    mend: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_error(self) -> bool:
        """Whether it stops the run."""
        return self.severity is Severity.ERROR


def in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Sort diagnostics by place, then code, and drop exact repetitions."""
    unique = dict.fromkeys(diagnostics)
    return tuple(sorted(unique, key=lambda d: (d.span.start, d.code, d.span.end)))


class SpecError(RobspecError):
    """The specification cannot be used: every problem found in it, in the order it is written.

    Each problem has its own code and its own page (`robspec explain CODE`); this one only collects them.

    Args:
        diagnostics: all of the run, warnings included.
        source: the text they are about.
    """

    code: ClassVar[str] = "E0000"
    title: ClassVar[str] = "the specification has errors"

    def __init__(self, diagnostics: Sequence[Diagnostic], source: Source) -> None:
        self.diagnostics = in_order(diagnostics)
        self.source = source
        first = next((d for d in self.diagnostics if d.is_error), None)
        span = first.span if first else NOWHERE
        where = f"{source.name}:{source.line(span.start)}:{source.column(span.start)}"
        super().__init__(where, first.message if first else "", first.mend if first else "")

    def __str__(self) -> str:
        return self.render(colour=False)

    def render(self, *, colour: bool) -> str:
        """Write all diagnostics the way a terminal shows them."""
        from robspec.diagnostics.render import render_all

        return render_all(self.diagnostics, self.source, colour=colour)
