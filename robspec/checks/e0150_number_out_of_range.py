"""Number that a metric cannot take.

`top_k(n)` asks whether a class has one of the n largest logits, so n is an integer
that leaves at least one class out. `fpr_at_tpr(level)` asks for the threshold that
finds a share of the anomalous images, so the level is above 0 and at most 1. An
overlap of boxes is above 0 and at most 1; a range of them, as in
`mean_average_precision(0.5 to 0.95)`, goes up in steps of 0.05. The share of
`object_recall(share)` is from 0 to 1.

Example::

    classes cat, dog, bird
    metric  top_k(3)

Mend::

    classes cat, dog, bird
    metric  top_k(2)
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import reported
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report numbers that are out of range."""
    yield from reported(__name__, spec)
