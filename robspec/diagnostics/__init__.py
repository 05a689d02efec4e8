"""Located messages about a specification: spans, severities, codes, carets."""

from robspec.diagnostics.diagnostic import Diagnostic, Severity
from robspec.diagnostics.error import SpecError
from robspec.diagnostics.render import render, render_all
from robspec.diagnostics.span import NOWHERE, Source, Span
from robspec.diagnostics.suggest import did_you_mean, nearest

__all__ = [
    "NOWHERE",
    "Diagnostic",
    "Severity",
    "Source",
    "Span",
    "SpecError",
    "did_you_mean",
    "nearest",
    "render",
    "render_all",
]
