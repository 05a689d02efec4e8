"""Nodes as ASCII text on one line, with no more parentheses than needed."""

from __future__ import annotations

from typing import assert_never

from robspec.syntax import ast
from robspec.syntax.tokens import is_plain_name


def expression(expr: ast.Expr) -> str:
    """An arithmetic expression."""
    if isinstance(expr, ast.Number):
        return expr.text
    if isinstance(expr, ast.Name):
        return expr.id
    if isinstance(expr, ast.MetricReference):
        return metric(expr)
    if isinstance(expr, ast.Clean):
        return f"clean({metric(expr.metric)})"
    if isinstance(expr, ast.Negative):
        return f"-{_operand(expr.operand, (ast.Sum, ast.Product, ast.Negative))}"
    if isinstance(expr, ast.Sum):
        parts = [_operand(expr.first, (ast.Sum,))]
        parts.extend(f"{sign} {_operand(term, (ast.Sum,))}" for sign, term in expr.rest)
        return " ".join(parts)
    loose = (ast.Sum, ast.Product)
    factors = [(sign, _operand(factor, loose)) for sign, factor in expr.rest]
    first = _operand(expr.first, loose)
    if isinstance(expr.first, ast.Number) and [sign for sign, _ in factors] == ["/"]:
        return f"{first}/{factors[0][1]}"
    return " ".join([first, *(f"{sign} {text}" for sign, text in factors)])


def _operand(expr: ast.Expr, looser: tuple[type[ast.Node], ...]) -> str:
    text = expression(expr)
    return f"({text})" if isinstance(expr, looser) else text


def class_name(name: ast.ClassName) -> str:
    """The name of a class, quoted where it could be read as something else."""
    return name.text if is_plain_name(name.text) else f'"{name.text}"'


def metric(reference: ast.MetricReference) -> str:
    """A metric with its numbers and classes, and which pixels count."""
    adjective = f"{reference.adjective} " if reference.adjective else ""
    last = "" if reference.through is None else f" to {expression(reference.through)}"
    arguments = f"({expressions(reference.arguments)}{last})" if reference.arguments else ""
    within = "" if reference.within is None else f" in {_classes(reference.within.classes) or 'region'}"
    return f"{adjective}{reference.name.id}{arguments}{_classes(reference.classes)}{within}"


def _classes(names: tuple[ast.ClassName, ...]) -> str:
    return f"[{', '.join(class_name(c) for c in names)}]" if names else ""


def definition(node: ast.Definition) -> str:
    """The definition of a metric without its keyword."""
    parameters = f"({', '.join(p.id for p in node.parameters)})" if node.parameters else ""
    polarity = " lower_is_better" if node.lower_is_better else ""
    return f"{node.name.id}{parameters}{polarity} = {expression(node.formula)}"


def expressions(exprs: tuple[ast.Expr, ...]) -> str:
    """Expressions with commas between them."""
    return ", ".join(expression(e) for e in exprs)


def norm(name: ast.NormName) -> str:
    """The name of a norm."""
    return name.name if name.exponent is None else f"{name.name}({expression(name.exponent)})"


def value(node: ast.Expr | ast.Sweep) -> str:
    """A value or a sweep."""
    if isinstance(node, ast.Sweep):
        return f"{expression(node.start)} to {expression(node.stop)} points {expression(node.points)}"
    return expression(node)


def level(node: ast.Level) -> str:
    """A share, in per cent or as a number."""
    return expression(node.value) + ("%" if node.percent else "")


def condition(node: ast.Condition) -> str:
    """A condition, with the parentheses that keep its parts apart."""
    if isinstance(node, ast.Comparison):
        return f"{expression(node.left)} {node.relation} {value(node.right)}"
    loose: tuple[type[ast.Node], ...] = (ast.AnyOf,) if isinstance(node, ast.AnyOf) else (ast.AnyOf, ast.AllOf)
    parts = [f"({condition(p)})" if isinstance(p, loose) else condition(p) for p in node.parts]
    return (" or " if isinstance(node, ast.AnyOf) else " and ").join(parts)


def measure(node: ast.Measure) -> str:
    """What a requirement is about."""
    if node.aggregate is None:
        return node.quantity
    order = f"{expression(node.order)}, " if node.order is not None else ""
    return f"{node.aggregate}({order}{node.quantity})"


def requirement(node: ast.Require) -> str:
    """A requirement without its keyword."""
    text = f"{measure(node.measure)} {node.relation} {expression(node.bound)}"
    if isinstance(node.population, ast.AllImages):
        text += " for all images"
    elif node.population is not None:
        text += f" for {level(node.population.level)} of images"
    if node.confidence is not None:
        text += f" with confidence {level(node.confidence)}"
    return text


Simple = (
    ast.Language
    | ast.Param
    | ast.Definition
    | ast.Use
    | ast.ModelStatement
    | ast.DetectorStatement
    | ast.Epsilon
    | ast.DataStatement
    | ast.PropertyStatement
)


def statement(node: Simple) -> tuple[str, str]:
    """A statement that is no block: its keyword, and the rest of its line."""
    if isinstance(node, ast.Language):
        return "language", node.version.text
    if isinstance(node, ast.Param):
        return "param", f"{node.name.id} = {expression(node.value)}"
    if isinstance(node, ast.Definition):
        return "metric", definition(node)
    if isinstance(node, (ast.Input, ast.Output, ast.Classes, ast.Annotation, ast.Normalize, ast.Lipschitz)):
        return _of_model(node)
    if isinstance(node, ast.Use):
        return "use", node.name.id
    if isinstance(node, (ast.Threshold, ast.Nms, ast.Match, ast.BoxesStatement, ast.Strides, ast.Limit)):
        return _of_detector(node)
    if isinstance(node, ast.Epsilon):
        return "epsilon", epsilon(node)
    if isinstance(node, ast.ObjectsStatement):
        return "objects", f'{node.name.id} "{node.glob}"'
    if isinstance(node, ast.DataStatement):
        return _of_data(node)
    if isinstance(node, ast.MetricStatement):
        return "metric", metric(node.metric)
    if isinstance(node, ast.NormStatement):
        return "norm", norm(node.norm)
    if isinstance(node, ast.AttackStatement):
        return "attack", class_name(node.side)
    if isinstance(node, ast.Budget):
        return "budget", value(node.value)
    if isinstance(node, ast.Degraded):
        return "degraded", f"when {condition(node.condition)}"
    if isinstance(node, ast.By):
        return "by", by(node)
    if isinstance(node, ast.Require):
        return "require", requirement(node)
    assert_never(node)


def epsilon(node: ast.Epsilon) -> str:
    """What is asked of privacy, without its keyword."""
    return f"<= {expression(node.value)} at delta {expression(node.delta)}"


def by(node: ast.By) -> str:
    """How a property is answered, without its keyword."""
    settings = " ".join(f"{s.name.id} {expression(s.value)}" for s in node.settings)
    return f"{node.method.id} {{ {settings} }}" if settings else node.method.id


def ready_made(node: ast.Layout) -> str:
    """A layout without its keyword: name, folder, split."""
    return f'{node.name.id} "{node.root}"' + ("" if node.split is None else f" split {node.split.id}")


def mapping(node: ast.Mapping) -> str:
    """One part of a `map`; a class called `ignored` is quoted."""
    if isinstance(node.source, ast.Stored):
        last = "" if node.source.last is None else f"..{expression(node.source.last)}"
        source = f"{expression(node.source.first)}{last}"
    else:
        source = f"#{node.source.value:06X}" if isinstance(node.source, ast.Colour) else "others"
    return f"{source} to {'ignored' if node.target is None else class_name(node.target)}"


def _of_data(node: ast.DataStatement) -> tuple[str, str]:
    if isinstance(node, ast.Ignore):
        return "ignore", expressions(node.labels)
    if isinstance(node, ast.Map):
        return "map", ", ".join(mapping(part) for part in node.parts)
    if isinstance(node, ast.Layout):
        return "layout", ready_made(node)
    if isinstance(node, ast.Crop):
        at = "" if node.at is None else f" at [{expressions(node.at)}]"
        return "crop", f"[{expressions(node.size)}]{at}"
    if isinstance(node, ast.Resize):
        return "resize", f"[{expressions(node.size)}] by {node.method.id}"
    if isinstance(node, ast.Labels) and node.glob is None:
        return "labels", "by folder"
    binary = " binary" if isinstance(node, (ast.Masks, ast.Pairs)) and node.binary else ""
    return type(node).__name__.lower(), f'"{node.glob}"{binary}'


def _of_detector(node: ast.DetectorStatement) -> tuple[str, str]:
    if isinstance(node, ast.Threshold):
        return "threshold", f"{node.of} {expression(node.value)}"
    if isinstance(node, ast.BoxesStatement):
        return "boxes", node.name.id
    if isinstance(node, ast.Strides):
        return "strides", expressions(node.values)
    if isinstance(node, ast.Limit):
        return "limit", expression(node.value)
    value = "" if node.value is None else f" {expression(node.value)}"
    return type(node).__name__.lower(), f"{node.name.id}{value}"


def _of_model(node: ast.ModelStatement) -> tuple[str, str]:
    if isinstance(node, ast.Input):
        return "input", f"{node.name.id} [{expressions(node.shape)}] in [{expressions(node.range)}]"
    if isinstance(node, ast.Output):
        boxes = "" if node.boxes is None else f", {node.boxes.name.id} [{expressions(node.boxes.shape)}]"
        return "output", f"{node.name.id} [{expressions(node.shape)}]{boxes}"
    if isinstance(node, ast.Classes):
        return "classes", ", ".join(class_name(c) for c in node.names)
    if isinstance(node, ast.Annotation):
        return "annotation", f"{class_name(node.normal)} | {class_name(node.anomalous)}"
    if isinstance(node, ast.Normalize):
        return "normalize", f"mean [{expressions(node.mean)}] std [{expressions(node.std)}]"
    norms = norm(node.input_norm) + (f" -> {norm(node.output_norm)}" if node.output_norm else "")
    return "lipschitz", f"{norms} <= {expression(node.value)}"
