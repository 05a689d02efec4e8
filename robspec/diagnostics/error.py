"""The error that carries all messages of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from robspec.diagnostics.diagnostic import Diagnostic, in_order
from robspec.diagnostics.render import render_all
from robspec.diagnostics.span import NOWHERE, Source
from robspec.errors import RobspecError


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
        where = first.option if first and first.option else where
        super().__init__(where, first.message if first else "", first.mend if first else "")

    def __str__(self) -> str:
        return self.render(colour=False)

    def render(self, *, colour: bool) -> str:
        """Write all diagnostics the way a terminal shows them."""
        return render_all(self.diagnostics, self.source, colour=colour)
