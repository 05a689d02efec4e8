"""Mean of radii.

A radius can be infinite: no number of flipped pixels degrades the metric of some
images. A mean that contains one has no value, and `robspec check` refuses it then.
A quantile or a fraction of images always has one.

Source: MATH.md section 4.

Example::

    require mean(radius) >= 0.3

Mend::

    require radius >= 0.3 for 95% of images
    require quantile(0.5, radius) >= 0.3
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import warning
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for means of radii."""
    for block in spec.properties:
        for requirement in spec.requirements(block):
            if (requirement.measure.aggregate, requirement.measure.quantity) == ("mean", "radius"):
                message = "a mean of radii has no value once one radius is infinite"
                mend = "require a quantile, `quantile(0.5, radius)`, or a fraction, `for 95% of images`"
                yield warning(__name__, requirement.measure.span, message, mend)
