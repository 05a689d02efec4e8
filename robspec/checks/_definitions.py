"""The metrics there are: built-in ones and those a specification defines, with the mistakes of the definitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from robspec.checks._constants import Constants, Found, Trouble
from robspec.diagnostics import Source, Span, did_you_mean
from robspec.metrics import MetricInfo, Takes, built_in, of_objects
from robspec.semantics.formula import COUNTS
from robspec.syntax import ast, parse, write
from robspec.syntax.walk import operands

PIXELS = "N"
RESERVED = frozenset({*COUNTS, PIXELS})


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong, reported by the check whose code it has."""

    code: str
    span: Span
    message: str
    mend: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric given by a formula.

    Args:
        info: its public face.
        formula: the tree.
        own: whether the specification defines it.
    """

    info: MetricInfo
    formula: ast.Expr
    own: bool


@lru_cache(maxsize=64)
def built_in_definition(info: MetricInfo) -> Definition:
    """A built-in metric's formula, read by the parser of the language."""
    parameters = ", ".join((*info.arguments, *info.parameters))
    parsed = parse(Source(f"metric {info.name}({parameters}) = {info.formula}\n", info.name))
    statement = parsed.file.statements[0]
    if parsed.diagnostics or not isinstance(statement, ast.Definition):
        raise RuntimeError(f"the formula of the built-in metric {info.name} cannot be read")
    return Definition(info, statement.formula, own=False)


def atoms(expr: ast.Expr) -> Iterator[ast.Expr]:
    """The names, numbers, metrics and counts a formula is composed of."""
    parts = operands(expr)
    if not parts:
        yield expr
    for part in parts:
        yield from atoms(part)


class Definitions:
    """All metrics by name, and what is wrong with the definitions of a specification.

    Args:
        statements: the definitions.
        constants: the constants of the specification.
        classes: the classes of the model, or None while unknown.
        objects: whether the model is a detector, whose metrics count objects.
    """

    def __init__(
        self,
        statements: tuple[ast.Definition, ...],
        constants: Constants,
        classes: tuple[str, ...] | None,
        *,
        objects: bool = False,
    ) -> None:
        self.constants = constants
        self.classes = classes
        self.problems: dict[Problem, None] = {}
        self.built_in = {**built_in(), **of_objects()} if objects else built_in()
        self.infos: dict[str, MetricInfo] = dict(self.built_in)
        self._own: dict[str, Definition] = {}
        self._broken: set[str] = set()
        for statement in statements:
            self._declare(statement)
        for statement in statements:
            name = statement.name.id
            if name in self._own and self._own[name].formula is statement.formula and not self._sound(statement):
                self._broken.add(name)
        self._find_circles()

    def report(self, code: str, span: Span, message: str, mend: str, *notes: str) -> None:
        """Note a problem; the same one twice counts once."""
        self.problems[Problem(code, span, message, mend, notes)] = None

    def find(self, name: str) -> Definition | None:
        """The formula of a metric; None for one without, for an unknown one, or where the definition is broken."""
        if name in self._own:
            return None if name in self._broken else self._own[name]
        info = self.infos.get(name)
        return built_in_definition(info) if info is not None and info.has_formula else None

    def examples(self, uses: Sequence[ast.MetricReference]) -> Iterator[ast.MetricReference]:
        """A use of every definition that nothing uses and that takes no numbers, so that it is looked at too."""
        used = {u.name.id for u in uses}
        used |= {a.name.id for d in self._own.values() for a in _references(d.formula, self._own)}
        for name, definition in self._own.items():
            wanted = len(definition.info.parameters)
            if name not in used and not definition.info.arguments and wanted <= len(self.classes or ()):
                classes = (self.classes or ())[len(self.classes or ()) - wanted :]
                span = definition.formula.span
                yield ast.MetricReference(
                    ast.Name(name, span=span), (), tuple(ast.ClassName(c, span=span) for c in classes), span=span
                )

    def _declare(self, statement: ast.Definition) -> None:
        name = statement.name.id
        if name in self.built_in or name in RESERVED or name in self._own or name in ("h", "h0"):
            return
        used = {c.text for a in atoms(statement.formula) if isinstance(a, ast.MetricReference) for c in a.classes}
        names = [p.id for p in statement.parameters]
        parameters = tuple(p for p in names if p in used)
        info = MetricInfo(
            name=name,
            summary="defined in the specification",
            formula=write.expression(statement.formula),
            lower_is_better=statement.lower_is_better,
            undefined="",
            source="",
            classes=Takes.ALWAYS if parameters else Takes.NEVER,
            arguments=tuple(p for p in names if p not in used),
            parameters=parameters,
        )
        self.infos[name] = info
        self._own[name] = Definition(info, statement.formula, own=True)

    def _sound(self, statement: ast.Definition) -> bool:
        """Look for mistakes in a definition that show without knowing its classes and numbers."""
        before = len(self.problems) + len(self.constants.found)
        self._parameters(statement)
        names = {p.id for p in statement.parameters}
        for atom in atoms(statement.formula):
            self._atom(atom, names)
        return len(self.problems) + len(self.constants.found) == before

    def _parameters(self, statement: ast.Definition) -> None:
        every = list(atoms(statement.formula))
        references = [a for a in every if isinstance(a, ast.MetricReference)]
        as_class = {c.text for r in references for c in r.classes}
        inner = [n for r in references for e in r.arguments for n in atoms(e)]
        as_number = {a.id for a in (*every, *inner) if isinstance(a, ast.Name)}
        seen: set[str] = set()
        for parameter in statement.parameters:
            name = parameter.id
            mend = "choose another name for the parameter"
            if name in seen:
                self.report("E0143", parameter.span, f"there is already a parameter `{name}`", mend)
            elif name in as_class and name in as_number:
                message = f"`{name}` is used as a class and as a number"
                self.report("E0143", parameter.span, message, "use two parameters")
            elif name not in as_class | as_number:
                message = f"the formula does not use `{name}`"
                self.report("E0143", parameter.span, message, "use it, as in `TP[k]`, or leave it out")
            elif name in self.constants.params or name in self.infos or name in RESERVED:
                message = f"`{name}` has a meaning of its own in the formula"
                self.report("E0143", parameter.span, message, mend)
            elif name in (self.classes or ()):
                self.report("E0143", parameter.span, f"`{name}` is a class of the model", mend)
            seen.add(name)

    def _atom(self, atom: ast.Expr, names: set[str]) -> None:
        if isinstance(atom, ast.Name):
            self._name(atom, names)
        elif isinstance(atom, ast.Clean):
            message = "a formula is over one image's counts; the clean value has no place in it"
            self.report("E0139", atom.span, message, "compare with the clean value in `degraded when`")
        elif isinstance(atom, ast.MetricReference):
            self._reference(atom, names)

    def _name(self, atom: ast.Name, names: set[str]) -> None:
        if atom.id in names or atom.id == PIXELS:
            return
        if atom.id in COUNTS:
            message = f"`{atom.id}` is counted for a class"
            self.report("E0139", atom.span, message, f"say for which, as in `{atom.id}[k]`")
        elif atom.id in self.infos and atom.id not in self.constants.params:
            self._reference(ast.MetricReference(atom, span=atom.span), names)
        else:
            self.constants.value(atom)

    def _reference(self, atom: ast.MetricReference, names: set[str]) -> None:
        name = atom.name.id
        if atom.adjective is not None or atom.within is not None:
            message = "a formula counts the pixels of one image, all with the same weight"
            plain = write.metric(ast.MetricReference(atom.name, atom.arguments, atom.classes))
            mend = f"write `{plain}` here, and `weighted`, `pooled` or `in` where the metric is used"
            self.report("E0139", atom.span, message, mend)
        for argument in atom.arguments:
            for inner in atoms(argument):
                if isinstance(inner, ast.Name) and inner.id not in names:
                    self.constants.value(inner)
                elif isinstance(inner, (ast.MetricReference, ast.Clean)):
                    self.constants.found[Found(Trouble.METRIC, inner.span)] = None
        for entry in atom.classes:
            if entry.text not in names and self.classes is not None and entry.text not in self.classes:
                mend = did_you_mean(entry.text, [*names, *self.classes], "name a parameter or a class of the model")
                message = f"the metric has no parameter, and the model no class, `{entry.text}`"
                self.report("E0105", entry.span, message, mend)
        self._arity(atom, name)

    def _arity(self, atom: ast.MetricReference, name: str) -> None:
        if name in COUNTS:
            if atom.arguments or not atom.classes:
                self.report("E0104", atom.span, f"`{name}` takes classes only", f"write it as `{name}[k]`")
            return
        info = self.infos.get(name)
        if name == PIXELS:
            self.report("E0104", atom.span, "`N` counts all pixels and takes nothing", "write `N`")
        elif info is None:
            known = [n for n, found in self.infos.items() if found.has_formula]
            mend = did_you_mean(
                name, [*COUNTS, *known], "a formula is over TP[k], FP[k], FN[k], TN[k], N and metrics"
            )
            self.report("E0103", atom.name.span, f"no metric is called `{name}`", mend)
        elif not info.has_formula:
            message = f"`{info.name}` has no formula over the counts of one class"
            mend = "build the formula from TP[k], FP[k], FN[k], TN[k], N and metrics of one class"
            self.report("E0139", atom.span, message, mend)
        else:
            for span, message, mend in arity_faults(info, atom, "k"):
                self.report("E0104", span, message, mend)

    def _find_circles(self) -> None:
        """Report every definition that leads back to itself, and set aside what rests on a broken one."""
        uses = {name: list(_references(d.formula, self._own)) for name, d in self._own.items()}
        reach = {name: _reachable(uses, name) for name in uses}
        for name in uses:
            if name in reach[name]:
                through = next(a for a in uses[name] if name in {a.name.id} | reach[a.name.id])
                message = f"`{name}` is defined by itself" + (", through this" if through.name.id != name else "")
                self.report("E0138", through.span, message, "write the formula out in counts")
                self._broken.add(name)
        self._broken |= {name for name in uses if reach[name] & self._broken}


def _references(formula: ast.Expr, own: Mapping[str, Definition]) -> Iterator[ast.MetricReference]:
    """The metrics of the specification that a formula names."""
    for atom in atoms(formula):
        if isinstance(atom, ast.MetricReference) and atom.name.id in own:
            yield atom
        elif isinstance(atom, ast.Name) and atom.id in own:
            yield ast.MetricReference(atom, span=atom.span)


def _reachable(uses: Mapping[str, list[ast.MetricReference]], start: str) -> set[str]:
    """The definitions a definition rests on; itself too, if it goes round in a circle."""
    reached: set[str] = set()
    todo = [a.name.id for a in uses[start]]
    while todo:
        at = todo.pop()
        if at not in reached:
            reached.add(at)
            todo.extend(a.name.id for a in uses[at])
    return reached


def arity_faults(info: MetricInfo, use: ast.MetricReference, example: str) -> Iterator[tuple[Span, str, str]]:
    """What a use of a metric gives too much or too little: place, message and mend.

    Args:
        info: the metric.
        use: how it is used.
        example: a class for the mend.
    """
    round_names = [a.id for a in use.arguments if isinstance(a, ast.Name)]
    if (
        info.classes is Takes.ALWAYS
        and not use.classes
        and len(round_names) == len(use.arguments) > len(info.arguments)
    ):
        span = Span(use.arguments[0].span.start, use.arguments[-1].span.end)
        mend = f"write `{info.name}[{', '.join(round_names)}]`"
        yield span, f"`{info.name}` is asked of classes in brackets, not in parentheses", mend
        return
    if len(use.arguments) != len(info.arguments):
        span = use.span
        if use.arguments:
            span = Span(use.arguments[0].span.start, use.arguments[-1].span.end)
        wanted = _count(len(info.arguments), "number") if info.arguments else "no numbers"
        mend = f"write `{info.name}` without parentheses"
        if info.arguments:
            mend = f"write `{info.name}({', '.join(info.arguments)})`"
        yield span, f"`{info.name}` takes {wanted}, {len(use.arguments)} given", mend
    if use.through is not None and info.arguments != ("overlap",):
        plain = f"{info.name}({', '.join(info.arguments)})" if info.arguments else info.name
        yield use.through.span, f"`{info.name}` takes no range of numbers", f"write `{plain}`"
    if use.classes and info.classes is Takes.NEVER:
        span = Span(use.classes[0].span.start, use.classes[-1].span.end)
        what = "is about all classes and takes none"
        if info.has_formula:
            what = "names its classes itself and takes none"
        yield span, f"`{info.name}` {what}", f"write `{info.name}` without brackets"
    if not use.classes and info.classes is Takes.ALWAYS:
        message = f"`{info.name}` is about one class, or several that count as one"
        if len(info.parameters) > 1:
            message = f"`{info.name}` is about {_count(len(info.parameters), 'class')}"
            example = ", ".join(info.parameters)
        yield use.span, message, f"say which, as in `{info.name}[{example}]`"
    elif len(info.parameters) > 1 and len(use.classes) != len(info.parameters):
        span = Span(use.classes[0].span.start, use.classes[-1].span.end)
        message = f"`{info.name}` takes {_count(len(info.parameters), 'class')}, {len(use.classes)} given"
        yield span, message, f"write `{info.name}[{', '.join(info.parameters)}]`"


def _count(number: int, word: str) -> str:
    plural = word + ("es" if word.endswith("s") else "s")
    return f"{number} {word if number == 1 else plural}"
