"""From lark's parse tree to the abstract syntax tree: one function per rule, named after it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from lark import Token, Tree

from robspec.diagnostics.span import Span
from robspec.syntax import ast
from robspec.syntax.tokens import span_of


def _span(tree: Tree[Token]) -> Span:
    meta = tree.meta
    return Span(meta.start_pos, meta.end_pos) if not meta.empty else Span(0, 0)


def _statements(tree: Any) -> tuple[Any, ...]:
    """Unroll a left-recursive list of statements without recursion."""
    found: list[Any] = []
    while tree.children:
        tree, statement = tree.children
        found.append(build(statement))
    return tuple(reversed(found))


def _all(trees: list[Any]) -> tuple[Any, ...]:
    return tuple(build(t) for t in trees)


def _optional(tree: Any) -> Any:
    return None if tree is None else build(tree)


def _name(token: Any) -> ast.Name:
    return ast.Name(str(token), span=span_of(token))


def _number(token: Any) -> ast.Number:
    return ast.Number(Fraction(str(token)), str(token), span=span_of(token))


def _text(token: Token) -> str:
    return str(token)[1:-1]


def _chain(tree: Tree[Token], kind: Any) -> Any:
    """A sum or a product: the operand itself when it stands alone."""
    children: list[Any] = tree.children
    first = build(children[0])
    if len(children) == 1:
        return first
    signs = [str(t) for t in children[1::2]]
    operands = [build(t) for t in children[2::2]]
    return kind(first, tuple(zip(signs, operands, strict=True)), span=_span(tree))


def _aggregate(kind: str | None) -> Callable[[Tree[Token]], ast.Measure]:
    def make(tree: Tree[Token]) -> ast.Measure:
        children: list[Any] = tree.children
        order = build(children[0]) if len(children) == 2 else None
        return ast.Measure(str(children[-1]), kind, order, span=_span(tree))  # type: ignore[arg-type]

    return make


def _simple(kind: Any, *parts: Callable[[Any], Any]) -> Callable[[Tree[Token]], Any]:
    """A rule whose children become the node's fields one by one."""

    def make(tree: Tree[Token]) -> Any:
        children: list[Any] = tree.children
        fields = [part(child) for part, child in zip(parts, children, strict=True)]
        return kind(*fields, span=_span(tree))

    return make


def _reference(tree: Tree[Token]) -> ast.MetricReference:
    name: Any = next(t for t in tree.children if isinstance(t, Token) and t.type == "NAME")
    adjective: Any = next((str(t) for t in tree.children if isinstance(t, Token) and t.type != "NAME"), None)
    trees: dict[str, Any] = {t.data: t for t in tree.children if isinstance(t, Tree)}
    given: list[Any] = trees["arguments"].children if "arguments" in trees else []
    last = next((t for t in given if t is not None and t.data == "through"), None)
    arguments = _all([t for t in given if t is not None and t is not last])
    classes = _all(trees["class_list"].children) if "class_list" in trees else ()
    within = build(trees["within"]) if "within" in trees else None
    through = None if last is None else build(last.children[0])
    return ast.MetricReference(_name(name), arguments, classes, adjective, within, through, span=_span(tree))


def _within(tree: Tree[Token]) -> ast.Within:
    inner: Any = tree.children
    return ast.Within(_all(inner[0].children) if inner else (), span=_span(tree))


def _parameters(tree: Any) -> tuple[ast.Name, ...]:
    return () if tree is None else tuple(_name(t) for t in tree.children)


def _class_name(tree: Tree[Token]) -> ast.ClassName:
    token: Any = tree.children[0]
    return ast.ClassName(_text(token) if token.type == "STRING" else str(token), span=span_of(token))


def _parts(kind: Any) -> Callable[[Tree[Token]], Any]:
    return lambda tree: kind(_all(tree.children), span=_span(tree))


def _vector(tree: Tree[Token]) -> tuple[ast.Expr, ...]:
    return _all(tree.children)


def _optional_name(token: Any) -> ast.Name | None:
    return None if token is None else _name(token)


def _model_name(token: Any) -> ast.ModelName | None:
    return None if token is None else ast.ModelName(_text(token), span=span_of(token))


def _ready_made(tree: Tree[Token]) -> ast.Data:
    """`data name "root" split part`: a block of one layout of that name."""
    name, root, split = tree.children
    layout = ast.Layout(_name(name), _text(root), _optional_name(split), span=_span(tree))  # type: ignore[arg-type]
    return ast.Data(layout.name, (layout,), ready=True, span=_span(tree))


def _mapping(tree: Tree[Token]) -> ast.Mapping:
    children: list[Any] = tree.children
    first, target = children
    source: ast.Stored | ast.Colour | ast.Others
    if isinstance(first, Tree):
        source = build(first)
    elif first.type == "COLOUR":
        source = ast.Colour(int(first[1:], 16), span=span_of(first))
    else:
        source = ast.Others(span=span_of(first))
    return ast.Mapping(source, build(target) if isinstance(target, Tree) else None, span=_span(tree))


def _output(tree: Tree[Token]) -> ast.Output:
    children: list[Any] = tree.children
    name, shape, *rest = children
    boxes = None
    if len(rest) == 2 and rest[0] is not None:
        span = Span(span_of(rest[0]).start, _span(rest[1]).end)
        boxes = ast.BoxesOutput(_name(rest[0]), _vector(rest[1]), span=span)
    return ast.Output(_name(name), _vector(shape), boxes, span=_span(tree))


_RULES: dict[str, Callable[[Tree[Token]], Any]] = {
    "language": _simple(ast.Language, _number),
    "param": _simple(ast.Param, _name, lambda t: build(t)),
    "definition": _simple(ast.Definition, _name, _parameters, lambda t: t is not None, lambda t: build(t)),
    "model": lambda tree: ast.Model(_statements(tree.children[1]), _model_name(tree.children[0]), span=_span(tree)),
    "input": _simple(ast.Input, _name, _vector, _vector),
    "output": _output,
    "classes": _parts(ast.Classes),
    "annotation": _simple(ast.Annotation, lambda t: build(t), lambda t: build(t)),
    "normalize": _simple(ast.Normalize, _vector, _vector),
    "lipschitz": lambda tree: ast.Lipschitz(
        build(tree.children[0]), _optional(tree.children[1]), build(tree.children[3]), span=_span(tree)
    ),
    "class_name": _class_name,
    "detector": _simple(ast.Detector, _statements),
    "threshold": _simple(ast.Threshold, str, lambda t: build(t)),
    "nms": _simple(ast.Nms, _name, _optional),
    "match": _simple(ast.Match, _name, _optional),
    "boxes": _simple(ast.BoxesStatement, _name),
    "strides": _parts(ast.Strides),
    "limit": _simple(ast.Limit, lambda t: build(t)),
    "privacy": _simple(ast.Privacy, _statements),
    "epsilon": lambda tree: ast.Epsilon(build(tree.children[1]), build(tree.children[2]), span=_span(tree)),
    "objects": _simple(ast.ObjectsStatement, _name, _text),
    "data": _simple(ast.Data, _name, _statements),
    "images": _simple(ast.Images, _text),
    "masks": _simple(ast.Masks, _text, lambda t: t is not None),
    "labels": _simple(ast.Labels, lambda t: _text(t) if t.type == "STRING" else None),
    "ignore": _parts(ast.Ignore),
    "pairs": _simple(ast.Pairs, _text, lambda t: t is not None),
    "layout": _simple(ast.Layout, _name, _text, _optional_name),
    "ready_made": _ready_made,
    "use": _simple(ast.Use, _name),
    "map": _parts(ast.Map),
    "mapping": _mapping,
    "stored": _simple(ast.Stored, lambda t: build(t), _optional),
    "crop": _simple(ast.Crop, _vector, lambda t: None if t is None else _vector(t)),
    "resize": _simple(ast.Resize, _vector, _name),
    "region": _simple(ast.Region, _text),
    "weights": _simple(ast.Weights, _text),
    "property": _simple(ast.Property, _name, _statements),
    "metric": _simple(ast.MetricStatement, lambda t: build(t)),
    "metric_reference": _reference,
    "metric_use": _reference,
    "within": _within,
    "norm": _simple(ast.NormStatement, lambda t: build(t)),
    "norm_name": _simple(ast.NormName, str, _optional),
    "attack": _simple(ast.AttackStatement, lambda t: build(t)),
    "budget": _simple(ast.Budget, lambda t: build(t)),
    "by": lambda tree: ast.By(
        _name(tree.children[0]), () if tree.children[2] is None else build(tree.children[2]), span=_span(tree)
    ),
    "by_lipschitz": lambda tree: ast.By(ast.Name("lipschitz", span=_span(tree)), span=_span(tree)),
    "settings": lambda tree: tuple(build(t) for t in tree.children),
    "setting": _simple(ast.Setting, _name, lambda t: build(t)),
    "sweep": _simple(ast.Sweep, *[lambda t: build(t)] * 3),
    "degraded": _simple(ast.Degraded, lambda t: build(t)),
    "any_of": _parts(ast.AnyOf),
    "all_of": _parts(ast.AllOf),
    "comparison": _simple(ast.Comparison, lambda t: build(t), str, lambda t: build(t)),
    "require": _simple(ast.Require, lambda t: build(t), str, lambda t: build(t), _optional, _optional),
    "plain": _aggregate(None),
    "mean": _aggregate("mean"),
    "minimum": _aggregate("min"),
    "quantile": _aggregate("quantile"),
    "all_images": _simple(ast.AllImages),
    "share_of_images": _simple(ast.ShareOfImages, lambda t: build(t)),
    "level": _simple(ast.Level, lambda t: build(t), lambda t: t is not None),
    "sum": lambda tree: _chain(tree, ast.Sum),
    "product": lambda tree: _chain(tree, ast.Product),
    "negative": lambda tree: ast.Negative(build(tree.children[-1]), span=_span(tree)),
    "number": lambda tree: _number(tree.children[0]),
    "name": lambda tree: _name(tree.children[0]),
    "clean": _simple(ast.Clean, lambda t: build(t)),
    "statements": _statements,
}


def build(tree: Any) -> Any:
    """Turn one parse tree into its node.

    Args:
        tree: a tree of a rule of `rspec.lark` that has a node, or `statements`.

    Returns:
        The node; a tuple of nodes for `statements`.
    """
    return _RULES[tree.data](tree)
