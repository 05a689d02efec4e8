"""Class that is not declared.

A metric is asked of a class that the model's `classes` statement does not list.

Example::

    classes background, runway
    metric iou[runaway]

Mend::

    metric iou[runway]
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, reported
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, did_you_mean
from robspec.metrics import Takes


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look up every class a property or a formula refers to."""
    yield from reported(__name__, spec)
    if spec.classes is None:
        return
    for block in spec.properties:
        for use in spec.metric_uses(block):
            info = spec.metric(use)
            taken = use.classes if info is None or info.classes is not Takes.NEVER else ()
            for name in (*taken, *(use.within.classes if use.within is not None else ())):
                if name.text not in spec.classes:
                    listed = ", ".join(spec.classes[:8]) + (", ..." if len(spec.classes) > 8 else "")
                    mend = did_you_mean(name.text, spec.classes, f"the classes are {listed}")
                    yield error(__name__, name.span, f"the model has no class `{name.text}`", mend)
