"""Attack on a side that the annotation does not have, or that a metric does not see.

A property of scores says whose images the attacker may change: the anomalous ones,
to be missed, or both sides. `fpr_at(T)` looks at normal images alone, so that only an
attack on both sides changes it.

Example::

    annotation normal | anomalous
    attack     outliers

Mend::

    annotation normal | anomalous
    attack     anomalous
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast, write


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Compare the side with those of the annotation."""
    sides = spec.of_model(ast.Annotation)
    if sides is None:
        return
    for block in spec.properties:
        attack = spec.statement(block, ast.AttackStatement)
        if attack is not None and attack.side.text not in (sides.anomalous.text, "both"):
            anomalous = write.class_name(sides.anomalous)
            message = f"`{attack.side.text}` is not whose images can be attacked"
            yield error(__name__, attack.side.span, message, f"write `attack {anomalous}` or `attack both`")
        elif attack is not None and attack.side.text != "both":
            for use in spec.metric_uses(block):
                if use.name.id == "fpr_at":
                    message = f"no attack on {sides.anomalous.text} images changes `fpr_at`, which counts the others"
                    yield error(__name__, attack.side.span, message, "write `attack both`")
