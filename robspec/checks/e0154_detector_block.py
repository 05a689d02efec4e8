"""Detector block without a detector, or the other way round.

`output scores [K, N]` gives K classes a score at each of N locations. What becomes a
detection is said in a `detector` block: threshold, suppression and matching. The
second output, `boxes [4, N]`, has the same locations.

Example::

    model {
      output scores [3, 84], boxes [4, 84]
    }
    data val { ... }

Mend::

    model {
      output scores [3, 84], boxes [4, 84]
    }
    detector {
      threshold sigmoid 0.3
      nms       greedy 0.6
      match     overlap 0.5
      boxes     frozen
    }
    data val { ... }
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast
from robspec.syntax.forms import FORMS


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Compare the outputs with the block."""
    output, detector = spec.of_model(ast.Output), spec.detector
    if output is None or spec.task is None or spec.damaged_outside:
        return
    if not spec.task.objects:
        if output.boxes is not None:
            message = f"boxes are of a detector, and the output is of {spec.task.name}"
            yield error(__name__, output.boxes.span, message, "leave them out, or write `output scores [K, N], ...`")
        if detector is not None:
            message = f"a `detector` block beside an output of {spec.task.name}"
            yield error(__name__, detector.span, message, "leave it out, or give the model `output scores [K, N]`")
        return
    if detector is None:
        message = "the output is of a detector, and nothing says what becomes a detection"
        yield error(__name__, output.span, message, f"add a block `{FORMS['detector']}`; see `robspec explain E0154`")
    if output.boxes is None:
        return
    shape, boxes = spec.output_shape(output.shape), spec.output_shape(output.boxes.shape)
    if boxes is None and len(output.boxes.shape) == 2:
        return  # a side that is no constant is reported where it stands
    if shape is not None and boxes != (4, shape[1]):
        message = f"boxes are 4 numbers at each of the {shape[1]} locations of the scores"
        yield error(__name__, output.boxes.span, message, f"write `{output.boxes.name.id} [4, {shape[1]}]`")
