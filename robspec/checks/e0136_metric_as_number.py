"""Metric where a number belongs.

Metrics have a value for each image under each attack. They stand after `metric` and
in `degraded when`; budgets, bounds and parameters are constants.

Example::

    require mean(worst_case) >= clean(pixel_accuracy)

Mend::

    require mean(worst_case) >= 0.75
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._constants import Trouble
from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report metrics met in constant arithmetic."""
    for found in spec.constants.found:
        if found.trouble is Trouble.METRIC:
            message = "a metric has no value here: this must be a constant"
            yield error(__name__, found.span, message, "write a number or a param")
