"""Diagnostics on the terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from robspec.diagnostics import Diagnostic, Source, render_all


def show(diagnostics: Sequence[Diagnostic], source: Source) -> None:
    """Write diagnostics to standard error, in colour on a terminal unless NO_COLOR is set."""
    if diagnostics:
        click.echo(render_all(diagnostics, source, colour=not os.environ.get("NO_COLOR")), err=True)
