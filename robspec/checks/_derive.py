"""From a metric as it is used to the metric of the intermediate representation, with all that is proved of it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Literal

from robspec.checks._constants import Constants
from robspec.checks._definitions import Definition, Definitions, Problem, arity_faults
from robspec.checks._formulas import Formulas, Refused, too_large
from robspec.diagnostics import Span
from robspec.ir.plans import (
    Accuracy,
    Components,
    Formula,
    Mean,
    MeanRate,
    Measure,
    Objects,
    Pooled,
    PooledComponents,
    PooledMean,
    PooledObjects,
    Precisions,
    Quotient,
    Ranked,
    Rate,
    Stability,
    Sum,
    Weighted,
)
from robspec.ir.types import Metric
from robspec.metrics import MetricInfo
from robspec.metrics._objects import COCO, STEP
from robspec.semantics import classify as proofs
from robspec.semantics.classify import Classified, NotMonotone, Undefinable, Unmoved
from robspec.semantics.formula import FormulaTooLarge, Ratio, TooMuchWork, Work, polynomial_text, ratio_text
from robspec.semantics.norm import decimal_text
from robspec.semantics.separable import ClassSet, Separable
from robspec.syntax import ast, write
from robspec.tasks import Task

_ANY: ClassSet = ("k",)
_EVERY_CLASS = (
    "no attack changes `object_recall` here: all classes together are every pixel",
    "leave out a class",
)


class Derivations:
    """The metrics of a specification as the intermediate representation has them.

    Args:
        definitions: the metrics there are; problems are added to its.
        constants: the constants of the specification.
        classes: the classes of the model, or None while unknown.
        task: what the model is for, or None while unknown.
    """

    def __init__(
        self,
        definitions: Definitions,
        constants: Constants,
        classes: tuple[str, ...] | None,
        task: Task | None = None,
    ) -> None:
        self._task = task
        self._definitions = definitions
        self._constants = constants
        self._classes = classes
        self._formulas = Formulas(definitions, constants, classes)
        self._each = Formulas(definitions, constants, None)
        # All classes together are no set that nothing can enter: places without an object are never written down.
        self._objects = Formulas(definitions, constants, None)
        self._known: dict[ast.MetricReference, Metric | None] = {}
        self._work = Work()

    def metric(self, use: ast.MetricReference) -> Metric | None:
        """A metric as it is used; None where something is wrong, which is reported."""
        if use not in self._known:
            try:
                with self._work.counted():
                    self._known[use] = self._derive(use)
            except Refused as refused:
                if refused.problem is not None:
                    self._definitions.problems[refused.problem] = None
                self._known[use] = None
            except FormulaTooLarge as found:
                self._definitions.problems[too_large(use.span, found)] = None
                self._known[use] = None
        return self._known[use]

    def _derive(self, use: ast.MetricReference) -> Metric:
        info = self._definitions.infos.get(use.name.id)
        entries = (*use.classes, *(use.within.classes if use.within is not None else ()))
        classes = self._classes
        if info is None or classes is None or any(c.text not in classes for c in entries):
            raise Refused(None)
        numbers = [self._constants.value(e) for e in use.arguments]
        if any(True for _ in arity_faults(info, use, "")) or None in numbers:
            raise Refused(None)
        arguments = tuple(n for n in numbers if n is not None)
        task = self._task
        if task is not None and task.objects:
            return self._of_objects(info, use, arguments)
        if task is not None and task.scores is not info.scores:
            raise Refused(_other_task(info, task, use))
        if info.scores:
            if info.items == "fpr_at_tpr" and not 0 < arguments[0] <= 1:
                message = f"{decimal_text(arguments[0])} is no share of the anomalous images that can be found"
                mend = "write a number above 0 and up to 1, such as 0.95"
                raise Refused(Problem("E0150", use.arguments[0].span, message, mend))
            return Metric(
                info.name,
                Ranked(Measure(info.items)),
                arguments=arguments,
                lower_is_better=info.lower_is_better,
                text=info.formula,
                low=info.low,
                high=info.high,
            )
        found = self._base(info, use, arguments)
        whole = task is not None and not task.each and not info.items
        if use.adjective == "weighted":
            found = self._weighted(info, found, use)
        elif use.adjective == "pooled" or whole:
            found = self._pooled(info, found, use)
        within = () if use.within is None else use.within.classes
        return replace(
            found,
            region=self._indices(tuple(c.text for c in within)),
            region_mask=use.within is not None and not within,
        )

    def _of_objects(self, info: MetricInfo, use: ast.MetricReference, arguments: tuple[Fraction, ...]) -> Metric:
        """A metric over objects found, missed and wrongly reported."""
        if info.scores or info.mean_of or (info.items and info.items not in ("average_precision", "mislabelled")):
            raise Refused(_not_of_objects(info, use))
        if use.adjective == "weighted" or use.within is not None:
            raise Refused(None)
        if info.items == "average_precision":
            overlaps = self._overlaps(use, arguments)
            return _average_precision(info, overlaps, self._indices(tuple(c.text for c in use.classes)), use)
        if info.items == "mislabelled":
            return self._mislabelled(info, use)
        if info.parameters == ("k",) and not use.classes:
            use = replace(use, classes=tuple(ast.ClassName(name) for name in self._classes or ()))
        definition = self._definitions.find(info.name)
        if definition is None:
            raise Refused(None)
        names: list[ClassSet] = [(c.text,) for c in use.classes]
        if len(info.parameters) == 1:
            names = [tuple(sorted({c.text for c in use.classes}))]
        value = self._objects.value(definition, arguments, tuple(names), use.span)
        if len(value.classes) != 1:
            raise Refused(_of_several(info, use))
        ratio = value.total()
        if any(exponents[3] for part in (ratio.numerator, ratio.denominator) for exponents, _ in part.terms):
            raise Refused(_over_nothing(definition, use))
        found = _of_one_class(
            info, arguments, self._indices(value.classes[0]), self._classified(ratio, definition, use)
        )
        if use.adjective == "pooled":
            counted = found.formula.ratio
            # A number of objects or detections is a sum over the images.
            if not (counted.numerator.linear and counted.denominator.fixed):
                self._refuse_unpoolable(info, found, use)
            return replace(found, plan=PooledObjects(found.formula, found.classes))
        return replace(found, plan=Objects(found.formula, found.classes))

    def _mislabelled(self, info: MetricInfo, use: ast.MetricReference) -> Metric:
        """Objects mislabelled, counted as missed ones are."""
        if len(self._classes or ()) == 1:
            message = f"no attack changes `{info.name}` here: there is no other class"
            raise Refused(Problem("E0144", use.span, message, "ask for `missed`"))
        missed = self._definitions.infos["missed"]
        plain = replace(use, name=ast.Name(missed.name, span=use.name.span), adjective=None)
        found = self._of_objects(missed, plain, ())
        kind: type[Objects | PooledObjects] = PooledObjects if use.adjective == "pooled" else Objects
        return replace(
            found, name=info.name, text=info.formula, plan=kind(found.formula, found.classes, mislabelled=True)
        )

    def _overlaps(self, use: ast.MetricReference, arguments: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
        """The overlaps an average is over, those of a range written out."""
        if use.through is None:
            return arguments
        last = self._constants.value(use.through)
        if last is None:
            raise Refused(None)
        steps = (last - arguments[0]) / STEP
        if not 0 < arguments[0] < last <= 1 or steps.denominator != 1:
            message = f"{decimal_text(arguments[0])} to {decimal_text(last)} is no range of overlaps in steps of 0.05"
            span = Span(use.arguments[0].span.start, use.through.span.end)
            raise Refused(Problem("E0150", span, message, "write a range within 0 and 1, such as 0.5 to 0.95"))
        return tuple(arguments[0] + n * STEP for n in range(int(steps) + 1))

    def _indices(self, names: ClassSet) -> tuple[int, ...]:
        return tuple(sorted((self._classes or ()).index(name) for name in set(names)))

    def _base(self, info: MetricInfo, use: ast.MetricReference, arguments: tuple[Fraction, ...]) -> Metric:
        """The metric over all pixels of each image."""
        if info.items == "ranked":
            return self._ranked(info, use, arguments)
        if info.items == "components":
            return self._components(info, use, arguments)
        if info.items:
            name, formula = info.name, info.formula
            if self._task is not None and self._task.item == "image":
                name, formula = (
                    (use.name.id if use.name.id in info.aliases else name),
                    formula.replace("pixel", "image"),
                )
            plan = Stability() if info.items == "predicted" else Accuracy()
            return Metric(name, plan, text=formula, low=info.low, high=info.high)
        if info.mean_of:
            return self._mean(info, use)
        definition = self._definitions.find(info.name)
        if definition is None:
            raise Refused(None)
        names: list[ClassSet] = [(c.text,) for c in use.classes]
        if len(info.parameters) == 1:
            names = [tuple(sorted({c.text for c in use.classes}))]
        value = self._formulas.value(definition, arguments, tuple(names), use.span)
        if not value.classes:
            raise Refused(_unmoved(definition, use))
        asked: tuple[int, ...] = ()
        if len(info.parameters) > 1:
            asked = tuple((self._classes or ()).index(c.text) for c in use.classes)
        if len(value.classes) == 1:
            shape = self._classified(value.total(), definition, use)
            found = _of_one_class(info, arguments, self._indices(value.classes[0]), shape)
        else:
            found = self._sum(definition, use, arguments, value)
        return replace(found, asked=asked)

    def _ranked(self, info: MetricInfo, use: ast.MetricReference, arguments: tuple[Fraction, ...]) -> Metric:
        """Accuracy that counts a class among the n largest logits as right."""
        rank, classes = arguments[0], len(self._classes or ())
        if rank.denominator != 1 or not 1 <= rank < classes:
            message = f"of {classes} classes, the {decimal_text(rank)} largest are no choice"
            mend = f"write an integer from 1 to {classes - 1}"
            raise Refused(Problem("E0150", use.arguments[0].span, message, mend))
        formula = info.formula
        if self._task is not None:
            formula = formula.replace("pixel", self._task.item)
        return Metric(info.name, Accuracy(int(rank)), arguments=arguments, text=formula, low=info.low, high=info.high)

    def _components(self, info: MetricInfo, use: ast.MetricReference, arguments: tuple[Fraction, ...]) -> Metric:
        """The share of the connected parts of a class set that are found."""
        if self._task is not None and self._task.item != "pixel":
            message = f"`{info.name}` counts connected parts of masks, and the output is of {self._task.name}"
            raise Refused(Problem("E0151", use.span, message, "use `recall`"))
        if not 0 <= arguments[0] <= 1:
            message = f"{decimal_text(arguments[0])} is no share of the pixels of an object"
            raise Refused(Problem("E0150", use.arguments[0].span, message, "write a number from 0 to 1, such as 0.5"))
        classes = self._indices(tuple(c.text for c in use.classes))
        if len(classes) == len(self._classes or ()):
            raise Refused(Problem("E0144", use.span, *_EVERY_CLASS))
        plan = Components(classes)
        return Metric(info.name, plan, arguments=arguments, text=info.formula, low=info.low, high=info.high)

    def _mean(self, info: MetricInfo, use: ast.MetricReference) -> Metric:
        """An average over the classes found in the annotation."""
        definition = self._definitions.find(info.mean_of)
        if definition is None:
            raise Refused(None)
        shape = self._classified(self._each.value(definition, (), (_ANY,), use.span).total(), definition, use)
        kind = Mean if shape.flips is None else MeanRate
        classes = self._indices(tuple(c.text for c in use.classes))
        return Metric(
            info.name,
            kind(_formula(shape), classes, frequency=info.average == "frequency"),
            lower_is_better=info.lower_is_better,
            text=info.formula,
            low=shape.low,
            high=shape.high,
        )

    def _sum(
        self, definition: Definition, use: ast.MetricReference, arguments: tuple[Fraction, ...], value: Separable
    ) -> Metric:
        """A sum of formulas of several classes; what no class enters goes to the first one."""
        parts = []
        shapes: dict[Ratio, Classified] = {}
        by_class = dict(value.parts)
        rest = by_class.pop((), None)
        for key, ratio in by_class.items():
            whole = ratio if rest is None else ratio + rest
            rest = None
            if not whole.numerator:
                continue
            weight, primitive = _weight(whole)
            if primitive not in shapes:
                shapes[primitive] = self._classified(primitive, definition, use, key)
            name = ratio_text(primitive, f"[{', '.join(key)}]")
            part = MetricInfo(name, "", "", definition.info.lower_is_better, "", "")
            parts.append((weight, _of_one_class(part, (), self._indices(key), shapes[primitive])))
        lows = [None if m.low is None else w * m.low for w, m in parts]
        highs = [None if m.high is None else w * m.high for w, m in parts]
        return Metric(
            definition.info.name,
            Sum(tuple(parts)),
            arguments=arguments,
            lower_is_better=definition.info.lower_is_better,
            text=definition.info.formula,
            low=_total(lows),
            high=_total(highs),
        )

    def _classified(
        self, ratio: Ratio, definition: Definition, use: ast.MetricReference, key: ClassSet = ()
    ) -> Classified:
        """What is proved of a formula.

        Raises:
            Refused: E0140, E0141, E0142 or E0144.
        """
        lower = definition.info.lower_is_better
        of = f"[{', '.join(key)}]" if key else "[k]"
        try:
            outcome = proofs.classify(ratio, lower_is_better=lower)
        except FormulaTooLarge as found:
            message = "this formula is too large for a proof that flips only make it worse"
            if isinstance(found, TooMuchWork):
                raise Refused(too_large(_place(definition, use), found)) from None
            raise Refused(Problem("E0141", _place(definition, use), message, "write a simpler formula")) from None
        if isinstance(outcome, Classified):
            return outcome
        if isinstance(outcome, Unmoved):
            raise Refused(_unmoved(definition, use))
        if isinstance(outcome, Undefinable):
            raise Refused(_undefinable(outcome, ratio, definition, use, of))
        raise Refused(_not_monotone(outcome, ratio, definition, use, of))

    def _weighted(self, info: MetricInfo, found: Metric, use: ast.MetricReference) -> Metric:
        match found.plan:
            case Accuracy(rank=1) | Stability():
                return replace(found, plan=Weighted(found.plan))
            case Rate() if found.plan.formula.linear:
                return replace(found, plan=Weighted(found.plan))
        message = f"`{info.name}` does not count pixels one by one, so they cannot have weights"
        mend = "weights go with pixel_accuracy, stability, recall, fnr, specificity and fpr"
        raise Refused(Problem("E0146", use.span, message, mend))

    def _pooled(self, info: MetricInfo, found: Metric, use: ast.MetricReference) -> Metric:
        if isinstance(found.plan, Components):
            return replace(found, plan=PooledComponents(found.plan.classes))
        self._refuse_unpoolable(info, found, use)
        kind = PooledMean if isinstance(found.plan, Mean | MeanRate) else Pooled
        return replace(found, plan=kind(found.formula, found.classes))

    def _refuse_unpoolable(self, info: MetricInfo, found: Metric, use: ast.MetricReference) -> None:
        plan = found.plan
        match plan:
            case Rate() | Quotient() if plan.formula.linear:
                return
            case Mean(frequency=False) if plan.formula.linear:
                return
            case MeanRate(frequency=False) if plan.formula.linear and not self._counted_as_pixels:
                return
        message = f"`{info.name}` is no quotient of sums of counts of one class, so it cannot be pooled"
        mend = "pooled go recall, precision, iou, dice and the like, and the means mean_iou and mean_dice"
        raise Refused(Problem("E0147", use.span, message, mend))

    @property
    def _counted_as_pixels(self) -> bool:
        return self._task is None or self._task.each


def _of_one_class(
    info: MetricInfo, arguments: tuple[Fraction, ...], classes: tuple[int, ...], shape: Classified
) -> Metric:
    formula = _formula(shape)
    return Metric(
        info.name,
        Quotient(formula, classes) if shape.flips is None else Rate(formula, classes, shape.flips),
        arguments=arguments,
        lower_is_better=info.lower_is_better,
        text=ratio_text(shape.ratio, "[k]"),
        low=shape.low,
        high=shape.high,
    )


def _formula(shape: Classified) -> Formula:
    return Formula(shape.ratio, shape.defined, shape.worst_when_undefined)


def _other_task(info: MetricInfo, task: Task, use: ast.MetricReference) -> Problem:
    if info.scores:
        message = f"`{info.name}` ranks the scores of images, and the output is of {task.name}"
        mend = "give the model `output score [1]` and `annotation normal | anomalous`, or use `accuracy`"
    else:
        message = f"`{info.name}` counts decisions among classes, and the output is one score"
        mend = "use `auroc`, `average_precision`, `tpr_at(T)`, `fpr_at(T)` or `fpr_at_tpr(0.95)`"
    return Problem("E0151", use.span, message, mend)


def _average_precision(
    info: MetricInfo, arguments: tuple[Fraction, ...], classes: tuple[int, ...], use: ast.MetricReference
) -> Metric:
    overlaps = arguments or COCO
    wrong = next((k for k, o in enumerate(arguments) if not 0 < o <= 1), None)
    if wrong is not None:
        message = f"{decimal_text(arguments[wrong])} is no overlap of boxes"
        raise Refused(Problem("E0150", use.arguments[wrong].span, message, "write a number above 0 and up to 1"))
    if use.adjective == "pooled":
        raise Refused(
            Problem("E0147", use.span, f"`{info.name}` is of the whole data set already", "leave out `pooled`")
        )
    return Metric(info.name, Precisions(classes), arguments=overlaps, text=info.formula, low=info.low, high=info.high)


def _not_of_objects(info: MetricInfo, use: ast.MetricReference) -> Problem:
    message = f"`{info.name}` counts no objects, and the output is of a detector"
    mend = "use recall, precision, f_beta(b), false_positives, missed, average_precision(0.5) or a formula over them"
    return Problem("E0151", use.span, message, mend)


def _of_several(info: MetricInfo, use: ast.MetricReference) -> Problem:
    message = f"`{info.name}` mixes counts of several classes, which objects of a detector are not bounded for"
    mend = "name one set of classes, as in `TP[car, truck]`, or ask for each class in a property of its own"
    return Problem("E0151", use.span, message, mend)


def _over_nothing(definition: Definition, use: ast.MetricReference) -> Problem:
    message = f"`{definition.info.name}` counts TN or N, and a detector has no places where rightly nothing is found"
    return Problem(
        "E0151", _place(definition, use), message, "write a formula over TP, FP and FN", _used(definition, use)
    )


def _weight(ratio: Ratio) -> tuple[Fraction, Ratio]:
    """The positive number in front of a formula, and the formula without it; its largest value is 1 where known."""
    largest = proofs.bounds(ratio)[1] if min(ratio.denominator.coefficients) > 0 else None
    weight = Fraction(ratio.numerator.content, ratio.denominator.content)
    if largest is not None and largest > 0:
        weight = largest
    return weight, ratio * Ratio.constant(1 / weight)


def _total(values: list[Fraction | None]) -> Fraction | None:
    return None if None in values else sum((v for v in values if v is not None), Fraction(0))


def _place(definition: Definition, use: ast.MetricReference) -> Span:
    """Where a fault of a formula shows: in the formula, if it is the user's own."""
    return definition.formula.span if definition.own else use.span


def _used(definition: Definition, use: ast.MetricReference) -> tuple[str, ...]:
    return (f"it is used as `{write.metric(use)}`",) if definition.own and (use.arguments or use.classes) else ()


def _unmoved(definition: Definition, use: ast.MetricReference) -> Problem:
    message = f"no attack changes `{definition.info.name}` here: it does not depend on what is predicted"
    if not definition.own:
        mend = "leave out a class: all classes together are every pixel"
        return Problem("E0144", use.span, message, mend)
    mend = "count TP, FP, FN or TN of a class, not only TP + FN, FP + TN and N, which the annotation fixes"
    return Problem("E0144", definition.formula.span, message, mend, _used(definition, use))


def _counts_text(counts: tuple[int, int, int, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in zip(("TP", "FP", "FN", "TN"), counts, strict=True))


def _undefinable(
    found: Undefinable, ratio: Ratio, definition: Definition, use: ast.MetricReference, of: str
) -> Problem:
    below = _short(polynomial_text(ratio.denominator, of), 100)
    message = f"the divisor `{below}` can be 0 on an image that the annotation does not exclude"
    if found.counts is None:
        message = f"the divisor `{below}` is not known to be above 0"
    notes: tuple[str, ...] = ()
    if found.counts is not None:
        what = "it is 0" if found.zero else "it is negative"
        value = ratio.numerator.at(*found.counts)
        notes = (f"{what} on an image with {_counts_text(found.counts)}, where the value is {value}/0",)
        if not found.zero:
            notes = (f"{what} on an image with {_counts_text(found.counts)}",)
            message = f"the divisor `{below}` can change its sign"
    mend = "divide by what is 0 only where the class is not annotated, or where the value is the worst one anyway"
    return Problem("E0142", _place(definition, use), message, mend, (*notes, *_used(definition, use)))


def _not_monotone(
    found: NotMonotone, ratio: Ratio, definition: Definition, use: ast.MetricReference, of: str
) -> Problem:
    flip = {"a": f"a hit that is lost (TP{of} to FN{of})", "b": f"a false alarm (TN{of} to FP{of})"}[found.move]
    better = "lower" if definition.info.lower_is_better else "higher"
    message = f"{better} is better, but {flip} can make the value better"
    if found.example is None:
        message = f"{better} is better, and it is not proved that {flip} never makes the value better"
    shown = _short(polynomial_text(found.numerator, of))
    notes = [
        f"the formula is {_short(ratio_text(ratio, of))}",
        f"its slope along such flips has the numerator {shown}",
    ]
    if found.example is not None and found.values is not None:
        ends = [
            f"{_counts_text(c)} it is {decimal_text(v)}" for c, v in zip(found.example, found.values, strict=True)
        ]
        notes.append(f"with {ends[0]}, with {ends[1]}")
    mend = "mark a metric `lower_is_better` if it is; otherwise write it so that mistakes never improve it"
    return Problem("E0140", _place(definition, use), message, mend, (*notes, *_used(definition, use)))


def _short(text: str, length: int = 300) -> str:
    return text if len(text) <= length else f"{text[:length]} ..."


def example(info: MetricInfo, adjective: Literal["pooled", "weighted"] | None = None) -> Metric | None:
    """A built-in metric asked of a class `k`, its numbers 1; None where the adjective does not go with it."""
    constants = Constants({}, {})
    definitions = Definitions((), constants, ("k", "other", "rest"))
    numbers = tuple(ast.Number(Fraction(1), "1") for _ in info.arguments)
    classes = tuple(ast.ClassName(k) for k in info.parameters)
    use = ast.MetricReference(ast.Name(info.name), numbers, classes)
    if adjective is not None:
        use = replace(use, adjective=adjective)
    return Derivations(definitions, constants, ("k", "other", "rest")).metric(use)
