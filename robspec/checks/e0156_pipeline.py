"""Pipeline that is not certified.

Bounds are proved for greedy suppression class by class, or none; for matches by
overlap or by location; for boxes of which nothing is known (`free`), which are taken
to stay (`frozen`) or whose movement is proved (`proved`). Soft, matrix and fast
suppression let a suppressed box change the fate of others; suppression over all
classes lets one class hide another; suppression with coordinates moved apart class by
class rounds overlaps by up to 2e-3.

Example::

    nms soft 0.5

Mend::

    nms greedy 0.5
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, did_you_mean
from robspec.syntax import ast

_REFUSED = {
    "soft": "it lowers the scores of what overlaps, so that no bound on what is kept follows from scores alone",
    "matrix": "it lowers the scores of what overlaps, so that no bound on what is kept follows from scores alone",
    "fast": "a box it suppresses suppresses others in turn",
    "cluster": "a box it suppresses suppresses others in turn",
    "agnostic": "it lets one class hide another, and an attack on any class counts for all",
    "class_agnostic": "it lets one class hide another, and an attack on any class counts for all",
    "offset": "moving coordinates apart class by class changes overlaps by up to 2e-3",
    "batched": "moving coordinates apart class by class changes overlaps by up to 2e-3",
}
_KNOWN: dict[type[ast.Node], tuple[str, tuple[str, ...]]] = {
    ast.Nms: ("suppression", ("greedy", "none")),
    ast.Match: ("match", ("overlap", "location")),
    ast.BoxesStatement: ("state of boxes", ("free", "frozen", "proved")),
    ast.ObjectsStatement: ("format of annotation", ("coco", "yolo", "voc")),
}
_NUMBER = {"greedy": True, "none": False, "overlap": True}
_EXAMPLE = {"greedy": "nms greedy 0.6", "none": "nms none", "overlap": "match overlap 0.5"}


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at the words of the detector and of its annotation."""
    statements = () if spec.detector is None else spec.detector.statements
    for statement in (*statements, *(s for data in spec.used_data or spec.data_blocks[:1] for s in data.statements)):
        if not isinstance(statement, (ast.Nms, ast.Match, ast.BoxesStatement, ast.ObjectsStatement)):
            continue
        what, known = _KNOWN[type(statement)]
        word = statement.name.id
        if word not in known:
            reason = _REFUSED.get(word) if isinstance(statement, ast.Nms) else None
            message = f"no {what} is called `{word}`" if reason is None else f"`{word}` is not certified: {reason}"
            mend = did_you_mean(word, list(known), f"choose {' or '.join(f'`{k}`' for k in known)}")
            yield error(__name__, statement.name.span, message, mend)
        elif isinstance(statement, (ast.Nms, ast.Match)) and _NUMBER.get(word, statement.value is not None) is not (
            statement.value is not None
        ):
            message = f"`{word}` takes {'a number' if _NUMBER[word] else 'no number'}"
            yield error(__name__, statement.span, message, f"write it as `{_EXAMPLE[word]}`")
