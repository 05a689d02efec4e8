"""One located message."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from robspec.diagnostics.span import Span


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
        option: what was written on the command line that makes it wrong; empty where the source is.
    """

    code: str
    severity: Severity
    span: Span
    message: str
    mend: str = ""
    notes: tuple[str, ...] = ()
    option: str = ""

    @property
    def is_error(self) -> bool:
        """Whether it stops the run."""
        return self.severity is Severity.ERROR


def in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Sort diagnostics by place, then code, and drop exact repetitions."""
    unique = dict.fromkeys(diagnostics)
    return tuple(sorted(unique, key=lambda d: (d.span.start, d.code, d.span.end)))
