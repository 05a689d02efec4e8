"""Unknown metric.

No metric of that name is known to this robspec.

Example::

    metric pixel_acuracy

Mend::

    metric pixel_accuracy
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, reported
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, did_you_mean

_ELSEWHERE = {
    "miou": "mean_iou",
    "meaniou": "mean_iou",
    "jaccard": "iou",
    "jaccardindex": "iou",
    "mdice": "mean_dice",
    "f1": "dice",
    "f1score": "dice",
    "accuracy": "pixel_accuracy",
    "acc": "pixel_accuracy",
    "pixelaccuracy": "pixel_accuracy",
    "tpr": "recall",
    "tnr": "specificity",
    "fwiou": "frequency_weighted_iou",
}
"""What metrics are called in other places, lower case, without underscores."""


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look up every metric a property or a formula refers to."""
    yield from reported(__name__, spec)
    names = sorted({info.name for info in spec.metrics.values()})
    for block in spec.properties:
        for use in spec.metric_uses(block):
            if spec.metric(use) is None:
                other = _ELSEWHERE.get(use.name.id.lower().replace("_", ""))
                otherwise = f"the metrics are {', '.join(names)}"
                mend = f"here it is called `{other}`" if other else did_you_mean(use.name.id, spec.metrics, otherwise)
                yield error(__name__, use.name.span, f"no metric is called `{use.name.id}`", mend)
