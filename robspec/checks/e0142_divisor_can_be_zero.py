"""Division that can be 0/0.

A metric is undefined on images that the annotation excludes: those without the class,
for a divisor like TP[k] + FN[k]. Such images are left out and counted. A divisor that
an attack can make 0 is allowed where the value then can count as the worst one, as for
precision, whose divisor is TP[k] + FP[k]. What is refused is a divisor that is 0, or
below, on other images: whether the metric is defined would be up to the attack.

Source: MATH.md section 4.

Example::

    metric m(k) = TP[k] / (TP[k] - FP[k])

Mend::

    metric m(k) = TP[k] / (TP[k] + FP[k])
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import reported
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report divisors that can be 0 where the annotation does not say so."""
    yield from reported(__name__, spec)
