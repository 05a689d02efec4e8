"""Which data block is meant is not said.

A specification may describe several data sets. `use` names the one its properties are
about; within a property, the one that this property is about.

Example::

    data val { images "val/*.png" }
    data test { images "test/*.png" }

Mend::

    data val { images "val/*.png" }
    data test { images "test/*.png" }
    use val
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, did_you_mean
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for `use` where there is a choice, and for the block it names."""
    blocks = spec.data_blocks
    names = list(dict.fromkeys(d.name.id for d in blocks))
    own = [spec.statement(p, ast.Use) for p in spec.properties]
    for use in (spec.statement_of_file(ast.Use), *own):
        if use is not None and names and use.name.id not in names and not spec.file.damage:
            mend = did_you_mean(use.name.id, names, f"the data blocks are {', '.join(names[:8])}")
            yield error(__name__, use.name.span, f"there is no data block `{use.name.id}`", mend)
    open_ = spec.statement_of_file(ast.Use) is None and spec.use is None and None in (own or [None])
    if open_ and len(names) > 1 and not spec.damaged_outside:
        message = f"there are {len(names)} data blocks, and nothing says which one is meant"
        yield error(__name__, blocks[1].name.span, message, f"add `use {names[0]}`, here or in each property")
