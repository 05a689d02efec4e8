"""Parameter of a metric without a clear meaning.

A parameter is either a class, which stands in brackets (`TP[k]`), or a number. It must
be used, as one of the two, and must not hide a name that has a meaning already.

Example::

    metric m(k, w) = TP[k] / (TP[k] + FN[k])

Mend::

    metric m(k, w) = TP[k] / (TP[k] + w * FN[k])
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import reported
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report parameters that are not used, or not in one way."""
    yield from reported(__name__, spec)
