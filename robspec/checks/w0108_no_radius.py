"""Specification that only asks how bad it gets, and never how much it takes.

A budget is a guess at the attacker's means. A property `degraded when ...` has none: it
says how large an attack has to be, so that a reader can compare it with any means. Only
`robspec lint` remarks this.

Example::

    property accurate {
      metric   pixel_accuracy
      norm     l2
      budget   0.3
      require  mean(worst_case) >= 0.9
    }

Mend::

    property hard_to_degrade {
      metric   pixel_accuracy
      norm     l2
      degraded when h <= 0.75
      require  radius >= 0.3 for 90% of images
    }
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import warning
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast

LINT_ONLY = True


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for a property with a degradation."""
    blocks = spec.properties
    if blocks and not any(spec.statement(block, ast.Degraded) for block in blocks):
        message = "no property asks how large an attack has to be"
        yield warning(__name__, blocks[0].name.span, message, "add one with `degraded when`, such as `h <= 0.75`")
