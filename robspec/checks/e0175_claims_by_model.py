"""Claim of one model that is not clearly a claim of one model.

A specification that serves several models has one `model` block without a name, which
says what all of them are like. What is claimed of one of them alone stands in a block of
its own, named after its file, or after the digest of its content (`sha256:` and at least
16 of its digits). Such a block holds a `lipschitz` claim and nothing else; the block
without a name then holds none.

Example::

    model {
      input     image [3, 64, 64] in [0, 1]
      output    logits [2, 64, 64]
      classes   background, runway
      lipschitz l2 <= 1.001
    }

    model "loose.pt2" {
      lipschitz l2 <= 6.6
    }

Mend::

    model {
      input   image [3, 64, 64] in [0, 1]
      output  logits [2, 64, 64]
      classes background, runway
    }

    model "strict.pt2" {
      lipschitz l2 <= 1.001
    }

    model "loose.pt2" {
      lipschitz l2 <= 6.6
    }
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast
from robspec.syntax.write import statement

_DIGEST = re.compile(r"[0-9a-fA-F]{16,64}", re.ASCII)


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at every model block that has a name, and at the claim beside them."""
    for block in spec.named_models:
        yield from _name(block)
        yield from _content(spec, block)
    claim = spec.of_model(ast.Lipschitz)
    if claim is not None and spec.named_models:
        message = "this claim is about every model, and there are claims about some of them"
        yield error(__name__, claim.span, message, 'move it into a block of its own: `model "FILE" { ... }`')


def _name(block: ast.Model) -> Iterator[Diagnostic]:
    if block.file is None:
        return
    text = block.file.text
    if not text.strip() or text.endswith(("/", "\\")):
        message = "this names no file"
        yield error(__name__, block.file.span, message, 'write its name, such as "strict.pt2"')
    elif text.startswith("sha256:") and not _DIGEST.fullmatch(text[len("sha256:") :]):
        message = "a digest has 16 to 64 hexadecimal digits"
        yield error(__name__, block.file.span, message, "copy it from the last lines of a report of `robspec check`")


def _content(spec: Spec, block: ast.Model) -> Iterator[Diagnostic]:
    others = [s for s in block.statements if not isinstance(s, ast.Lipschitz)]
    for other in others:
        message = f"`{statement(other)[0]}` cannot stand in the block of one model: it says what all have in common"
        yield error(__name__, other.span, message, "move it into the `model` block without a name")
    if not block.statements and block.file is not None and not spec.damaged(block):
        message = "nothing is claimed of this model"
        yield error(__name__, block.file.span, message, "add a claim, such as `lipschitz l2 <= 1.001`")
