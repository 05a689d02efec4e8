"""Files that are named in two ways.

Where the images and masks lie is said by patterns (`images`, `masks`), by a table
(`pairs`), or by the name of a published data set (`layout`): by one of them.

Example::

    pairs "val.csv"
    masks "val/masks/*.png"

Mend::

    pairs "val.csv"
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast

_WHOLE = (ast.Pairs, ast.Layout)
_PARTS = (ast.Images, ast.Masks, ast.Labels, ast.Region, ast.Weights)


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for a second source beside the first that names both kinds of files."""
    for data in spec.data_blocks:
        whole = next((s for s in data.statements if isinstance(s, _WHOLE)), None)
        if whole is None:
            continue
        word = type(whole).__name__.lower()
        for statement in data.statements:
            if isinstance(statement, (*_WHOLE, *_PARTS)) and type(statement) is not type(whole):
                other = type(statement).__name__.lower()
                message = f"`{word}` says where the files are, and so does `{other}`"
                yield error(__name__, statement.span, message, f"leave out `{other}`, or `{word}`")
