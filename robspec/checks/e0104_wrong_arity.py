"""Wrong number of arguments or classes.

A metric is asked of classes in brackets and takes its numbers in parentheses, as in
`f_beta(2)[runway]`. Some take neither: pixel_accuracy and stability are about all
classes at once.

Example::

    metric pixel_accuracy[runway]
    metric pixel_accuracy(2)

Mend::

    metric pixel_accuracy
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import count, error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, Span
from robspec.metrics import Takes


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Compare every reference to a metric with what the metric takes."""
    for block in spec.properties:
        for use in spec.metric_uses(block):
            info = spec.metric(use)
            if info is None:
                continue
            if len(use.arguments) != len(info.arguments):
                span = use.span
                if use.arguments:
                    span = Span(use.arguments[0].span.start, use.arguments[-1].span.end)
                wanted = count(len(info.arguments), "number") if info.arguments else "no numbers"
                message = f"`{info.name}` takes {wanted}, {len(use.arguments)} given"
                mend = f"write `{info.name}` without parentheses"
                if info.arguments:
                    mend = f"write `{info.name}({', '.join(info.arguments)})`"
                yield error(__name__, span, message, mend)
            if use.classes and info.classes is Takes.NEVER:
                span = Span(use.classes[0].span.start, use.classes[-1].span.end)
                message = f"`{info.name}` is about all classes and takes none"
                yield error(__name__, span, message, f"write `{info.name}` without brackets")
            if not use.classes and info.classes is Takes.ALWAYS:
                first = (spec.classes or ("class",))[-1]
                message = f"`{info.name}` is about one class, or several that count as one"
                yield error(__name__, use.span, message, f"say which, as in `{info.name}[{first}]`")
