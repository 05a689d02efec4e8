"""What a word means: a metric's formula and polarity, a param's worked value, a property's query."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from robspec.diagnostics import Span
from robspec.ir.print import property_lines
from robspec.lower import catalogue
from robspec.lsp.document import Document
from robspec.lsp.names import Occurrence, Symbol, at, declaration
from robspec.semantics.norm import decimal_text
from robspec.syntax import ast
from robspec.syntax.forms import FORMS
from robspec.syntax.tokens import span_of
from robspec.syntax.walk import descend


def hover(document: Document, offset: int) -> tuple[str, Span] | None:
    """Explain what is written at a place.

    Args:
        document: the specification.
        offset: of the character.

    Returns:
        Markdown, and the words it is about; None where there is nothing to say.
    """
    if document.too_large:
        return None
    named = at(document, offset)
    if named is not None:
        said = "\n\n".join(_symbol(document, named))
        return (said, named.span) if said else None
    worked = _worked(document, offset)
    if worked is not None:
        return worked
    for token in document.tokens[0]:
        if offset in span_of(token) and str(token) in FORMS:
            return f"`{FORMS[str(token)]}`", span_of(token)
    return None


def _symbol(document: Document, named: Occurrence) -> Iterator[str]:
    symbol = named.symbol
    if symbol.kind == "built-in":
        info = next((i for i in catalogue.entries() if symbol.name in (i.name, *i.aliases)), None)
        if info is not None:
            yield f"**{catalogue.use(info)}**: {info.summary}"
            better = "lower" if info.lower_is_better else "higher"
            yield f"```\n{info.formula}\n```\n{better} is better; undefined: {info.undefined or 'never'}"
            yield f"*{info.source}*"
    elif symbol.kind == "metric":
        yield from _definition(document, symbol)
    elif symbol.kind == "param":
        value = document.spec.param_value(symbol.name)
        yield f"param `{symbol.name}`" + ("" if value is None else f" = {_number(value)}")
        yield from _units(document, value)
    elif symbol.kind == "class":
        classes = document.spec.classes or ()
        if symbol.name in classes:
            yield f"class {classes.index(symbol.name)} of {len(classes)}: `{symbol.name}`"
    elif symbol.kind == "property":
        program = document.compiled[0]
        for block in program.properties if program is not None else ():
            if block.name == symbol.name and program is not None:
                yield "```\n" + "\n".join(property_lines(block, program)) + "\n```"
    elif symbol.kind == "argument":
        yield f"`{symbol.name}`, given to `{symbol.owner}` where it is used"


def _definition(document: Document, symbol: Symbol) -> Iterator[str]:
    for node in document.parsed.file.statements:
        if isinstance(node, ast.Definition) and node.name.id == symbol.name:
            better = "lower" if node.lower_is_better else "higher"
            yield f"```\n{document.text[node.span.start : node.span.end].strip()}\n```\n{better} is better"
            return
    if declaration(document, symbol) is None:
        return


def _worked(document: Document, offset: int) -> tuple[str, Span] | None:
    """A budget, written out: its value, and in grey levels where that can be."""
    for node in descend(document.parsed.file):
        if isinstance(node, ast.Budget) and offset in node.value.span and not isinstance(node.value, ast.Sweep):
            value = document.spec.value(node.value)
            if value is not None:
                return "\n\n".join((_number(value), *_units(document, value))), node.value.span
    return None


def _number(value: Fraction) -> str:
    text = decimal_text(value)
    return text if "/" not in text else f"{text} = {float(value):.6g}"


def _units(document: Document, value: Fraction | None) -> Iterator[str]:
    ends = document.spec.input_range
    if value is not None and ends is not None and ends[0] < ends[1] and value > 0:
        levels = value * 255 / (ends[1] - ends[0])
        yield f"as a budget: {float(levels):.4g} grey levels of 255 on one pixel and channel"
