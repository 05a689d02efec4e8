"""Answers the queries of a program, batch by batch; pooled metrics when all batches have been seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from robspec.bounds import FamilyBound, counting, open_bound, weighted
from robspec.bounds._carried import Array
from robspec.bounds.context import Context
from robspec.bounds.dataset import DatasetBound, Readable, open_dataset_bound
from robspec.bounds.pooled import Pool
from robspec.bounds.scene import Scene
from robspec.ir.plans import (
    Accuracy,
    PooledComponents,
    PooledObjects,
    Precisions,
    Quotient,
    Ranked,
    Rate,
    Stability,
    Sum,
)
from robspec.ir.types import AllOf, Degraded, Metric, Objective, Program, Property, Query, WorstCaseQuery
from robspec.semantics.constant import Constant
from robspec.semantics.objective import Threshold
from robspec.verify import arithmetic
from robspec.verify.conditions import meets
from robspec.verify.errors import UnsupportedMetricError
from robspec.verify.result import ImageResult, Value

_PRICED_BY_PAIRS = {Accuracy, Stability, Rate, Quotient}


class BatchEvaluator:
    """The queries of a program on one batch; whatever can be shared between properties is read once.

    Args:
        context: the batch.
        names: the images' names.
        pairs: whether to say what the pair bound alone would certify, where water filling prices entering a class.
        together: properties that are going to be asked, each with its constant: the budgets of those about one metric
            and one constant are answered as one sweep. Others may be asked too.
    """

    def __init__(
        self,
        context: Context,
        names: Sequence[str],
        *,
        pairs: bool = False,
        together: Sequence[tuple[Property, Constant]] = (),
    ) -> None:
        self._context = context
        self._pairs = BatchEvaluator(context.by_pairs(), names, together=together) if pairs else None
        self._names = tuple(names)
        self._bounds: dict[tuple[Metric, Constant], FamilyBound] = {}
        self._favoured: dict[tuple[Metric, Fraction], BatchEvaluator] = {}
        self._clean: dict[tuple[Metric, Constant], list[Fraction | None]] = {}
        self._worst: dict[tuple[Metric, Constant], list[dict[Fraction, Value | None]]] = {}
        self._budgets: dict[tuple[Metric, Constant], dict[Fraction, None]] = {}
        for prop, given in together:
            asked, constant = arithmetic.asked(prop, given)
            if isinstance(asked.query, WorstCaseQuery):
                budgets = self._budgets.setdefault((asked.query.metric, constant), {})
                budgets.update(dict.fromkeys(asked.query.budgets))

    def answer(self, prop: Property, constant: Constant) -> list[ImageResult]:
        """Answer one property for every image of the batch.

        Args:
            prop: the property, not pooled.
            constant: Lipschitz constant for the property's norm.

        Returns:
            One result per image, in order.
        """
        given, source = constant, prop
        prop, constant = arithmetic.asked(prop, given)
        query = prop.query
        if isinstance(query, WorstCaseQuery):
            # Before the clean values: where one budget is asked about, both may come of one look at the logits.
            certified = self._worst_case(query.metric, constant, query.budgets)
            best = self._best(query.metric, given)
            attained: list[tuple[Value | None, ...]] = [(value,) * len(query.budgets) for value in best]
        else:
            lows, highs = zip(*(self._radii(o, given) for o in query.objectives), strict=True)
            certified = [tuple(row) for row in zip(*lows, strict=True)]
            attained = [tuple(row) for row in zip(*highs, strict=True)]
        clean = self._clean_values(_first(query), constant)
        rows = zip(self._names, clean, certified, attained, self._by_pairs(source, given), strict=True)
        return [ImageResult(name, h, low, high, pairs) for name, h, low, high, pairs in rows]

    def _by_pairs(self, prop: Property, constant: Constant) -> list[tuple[Value | None, ...]]:
        """What the pair bound alone certifies, nothing where it is the bound used."""
        plans = {type(metric.plan) for metric in metrics_of(prop.query)}
        water = constant.output_norm.p == 2 and self._context.classes > 2
        # Averages are made for squared distances only.
        if self._pairs is None or not water or Quotient not in plans or plans - _PRICED_BY_PAIRS:
            return [()] * len(self._names)
        return [image.certified for image in self._pairs.answer(prop, constant)]

    def _radii(self, objective: Objective, constant: Constant) -> tuple[list[Value | None], list[Value | None]]:
        """Certified and attained radii of one objective for every image."""
        if isinstance(objective, Degraded):
            exact = arithmetic.bare(constant)
            bound = self._bound(objective.metric, exact)
            threshold = objective.threshold
            best = self._best(objective.metric, constant, relative=bool(threshold.slope))
            gammas = [None if h is None else threshold.at(h) for h in best]
            unsure = is_unsure(objective.metric, self._context, constant)
            severe = soonest(threshold, best, bound, constant, unsure=unsure)
            found = bound.radius([(g,) for g in severe], strict=objective.strict)
            low = [arithmetic.lessened(row[0], constant) for row in found]
            attained = [attained_radius(objective, h, g) for h, g in zip(best, gammas, strict=True)]
            if unsure and threshold.slope > 1:
                attained = [None if high is None else math.inf for high in attained]
            return low, attained
        parts = [self._radii(part, constant) for part in objective.parts]
        combine = _all_of if isinstance(objective, AllOf) else _any_of
        lows = [combine(values) for values in zip(*(low for low, _ in parts), strict=True)]
        highs = [combine(values) for values in zip(*(high for _, high in parts), strict=True)]
        # A certified 0 decides an `or` also where the clean image, on a tie, does not meet the condition itself.
        pairs = zip(lows, highs, strict=True)
        return lows, [math.inf if high is None and low is not None else high for low, high in pairs]

    def _best(self, metric: Metric, constant: Constant, *, relative: bool = False) -> list[Fraction | None]:
        """What the images themselves are worth at most, whatever rounding did.

        Args:
            metric: the metric.
            constant: with the rounding of its logits.
            relative: whether a threshold depends on it. Of coarse logits pixels are made in doubles, which may take a
                level one for wrong also where logits are taken as exact.
        """
        exact = arithmetic.bare(constant)
        if not constant.rounding and not constant.boxes_rounding:
            if relative and self._context.coarse is not None and counting.has_cells(metric):
                return counting.at_best(metric, self._context, Fraction(0))
            return self._clean_values(metric, exact)
        if metric.of_objects:
            _, scenes = self._context.detections()
            numbers = [marked(scene, metric) for scene in scenes]
            sure = arithmetic.objects_settled(self._context, metric, constant)
            found = zip(self._clean_values(metric, exact), numbers, sure, strict=True)
            return [arithmetic.best_of_objects(metric, h, n, settled=s) for h, n, s in found]
        if isinstance(metric.plan, Sum):
            rows = zip(*(self._best(part, constant) for _, part in metric.parts), strict=True)
            return [summed(metric, row) for row in rows]
        context = self._context
        if context.coarse is not None and counting.has_cells(metric):
            return counting.at_best(metric, context, constant.rounding)
        key = (metric, constant.rounding)
        if key not in self._favoured:
            better = arithmetic.in_favour(context, metric, constant)
            self._favoured[key] = self if better is context else BatchEvaluator(better, self._names)
        return self._favoured[key]._clean_values(metric, exact)

    def _clean_values(self, metric: Metric, constant: Constant) -> list[Fraction | None]:
        key = (metric, constant)
        if key not in self._clean:
            self._clean[key] = list(self._bound(metric, constant).clean())
        return self._clean[key]

    def _worst_case(
        self, metric: Metric, constant: Constant, budgets: Sequence[Fraction]
    ) -> list[tuple[Value | None, ...]]:
        """Worst cases of every image at each budget; the first that asks has all that are expected computed."""
        key = (metric, constant)
        if key not in self._worst:
            wanted = tuple(dict.fromkeys((*self._budgets.get(key, ()), *budgets)))
            rows = self._bound(metric, constant).worst_case(wanted)
            self._worst[key] = [dict(zip(wanted, row, strict=True)) for row in rows]
        known = self._worst[key]
        if any(budget not in row for row in known[:1] for budget in budgets):
            return [tuple(row) for row in self._bound(metric, constant).worst_case(budgets)]
        return [tuple(row[budget] for budget in budgets) for row in known]

    def _bound(self, metric: Metric, constant: Constant) -> FamilyBound:
        key = (metric, constant)
        if key not in self._bounds:
            self._bounds[key] = open_bound(metric, self._context, constant)
        return self._bounds[key]


class PooledEvaluator:
    """The pooled properties of a program, fed with every batch and answered at the end.

    Args:
        properties: the pooled ones, with the constant of each.
        plane: channels and sides of the plane of items of an image.
    """

    def __init__(self, properties: Sequence[tuple[Property, Constant]], plane: tuple[int, int, int]) -> None:
        asked = [(*(arithmetic.asked(p, c) if not _of_scores(p) else (p, c)), c) for p, c in properties]
        self._pools = {
            p.name: (p, open_dataset_bound(_pooled_metric(p), plane, exact, _largest(p.query)), c)
            for p, exact, c in asked
        }
        self._favoured = {
            p.name: open_dataset_bound(
                _pooled_metric(p),
                arithmetic.plane_in_favour(_pooled_metric(p), plane, c),
                replace(exact, coarse=None),
                _largest(p.query),
            )
            for p, exact, c in asked
            if c.rounding and not _pooled_metric(p).of_objects
        }
        self._objects = {p.name: 0 for p, _, _ in asked}
        self._settled = {p.name: arithmetic.TogetherSettled(_pooled_metric(p), c) for p, _, c in asked}

    def add(self, context: Context) -> None:
        """Read one batch."""
        self.take(self.read(context), context)

    def read(self, context: Context) -> Iterator[Array]:
        """Give what is kept of a batch for each property that keeps less of it than its logits.

        Computed as it is taken; nothing here changes.
        """
        sees = _Seen(context)
        for pool, asked in self._each():
            if isinstance(pool, Readable):
                yield from pool.read(sees.by(asked))

    def take(self, arrays: Iterator[Array], context: Context | None) -> None:
        """Keep what was read of a batch, here or elsewhere.

        Args:
            arrays: what `read` gave.
            context: the batch, None where it is elsewhere; needed of coarse logits, and where not `portable`.
        """
        sees = None if context is None else _Seen(context)
        for pool, asked in self._each():
            if isinstance(pool, Readable):
                pool.take(arrays)
                if sees is not None and isinstance(pool, Pool):
                    pool.look(sees.by(asked))
            elif sees is not None:
                pool.add(sees.by(asked))
            else:
                raise ValueError("some properties need the logits of every image")
        for name, (prop, _, _) in self._pools.items():
            metric = _pooled_metric(prop)
            if metric.of_objects and context is not None:
                _, scenes = context.detections()
                self._objects[name] += sum(marked(scene, metric) for scene in scenes)
                self._settled[name].add(context)

    def _each(self) -> Iterator[tuple[DatasetBound, tuple[Metric, Constant] | None]]:
        """Everything that batches are added to, and with which metric's rounding it sees them, if with any."""
        for name, (prop, pool, constant) in self._pools.items():
            yield pool, None
            if name in self._favoured:
                yield self._favoured[name], (_pooled_metric(prop), constant)

    def answer(self, name: str) -> list[ImageResult]:
        """Answer one property: a single result that stands for all images together; none when none was seen."""
        prop, pool, constant = self._pools[name]
        if not pool.images:
            return []
        clean = pool.clean()
        # Whether it is defined is a matter of the annotation alone, which rounding has no part in.
        best = self._favoured[name].clean() if name in self._favoured else clean
        rounded = bool(constant.rounding or constant.boxes_rounding)
        if rounded and name not in self._favoured:
            given = (_pooled_metric(prop), clean, self._objects[name])
            best = arithmetic.best_of_objects(*given, settled=bool(self._settled[name]))
        label = f"all {pool.images} images"
        if isinstance(prop.query, WorstCaseQuery):
            budgets = prop.query.budgets
            return [ImageResult(label, clean, tuple(pool.worst_case(budgets)), (best,) * len(budgets))]
        leaves = [o for o in prop.query.objectives if isinstance(o, Degraded)]
        gammas = [None if best is None else o.threshold.at(best) for o in leaves]
        if rounded:
            refuse_steep(prop)
        found = (pool.radius(g, strict=o.strict) for o, g in zip(leaves, gammas, strict=True))
        # Scores know of rounding themselves: it also moves those of images that nobody attacks.
        low = tuple(r if _of_scores(prop) else arithmetic.lessened(r, constant) for r in found)
        high = tuple(attained_radius(o, best, g) for o, g in zip(leaves, gammas, strict=True))
        return [ImageResult(label, clean, low, high)]

    def close(self) -> None:
        """Delete what was kept of the batches."""
        for pool in (*(pool for _, pool, _ in self._pools.values()), *self._favoured.values()):
            pool.close()


class _Seen:
    """A batch as it is, and in a metric's favour."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._favoured: dict[tuple[Metric, Fraction], Context] = {}

    def by(self, asked: tuple[Metric, Constant] | None) -> Context:
        if asked is None:
            return self._context
        metric, constant = asked
        key = (metric, constant.rounding)
        if key not in self._favoured:
            self._favoured[key] = arithmetic.in_favour(self._context, metric, constant)
        return self._favoured[key]


def summed(metric: Metric, values: Sequence[Fraction | None]) -> Fraction | None:
    """A sum of formulas whose values are known, None where one is undefined."""
    known = [weight * v for (weight, _), v in zip(metric.parts, values, strict=True) if v is not None]
    return sum(known, Fraction(0)) if len(known) == len(values) else None


def _of_scores(prop: Property) -> bool:
    return isinstance(_first(prop.query).plan, Ranked)


def marked(scene: Scene, metric: Metric) -> int:
    """Count the objects of a metric's classes on one image."""
    classes = metric.classes or tuple(range(len(scene.scores)))
    return sum(len(scene.objects.real(k)) for k in classes)


def _largest(query: Query) -> Fraction | None:
    return max(query.budgets) if isinstance(query, WorstCaseQuery) else None


def refuse_unsupported(program: Program) -> None:
    """Stop before any work where a property asks for what no bound covers.

    Raises:
        UnsupportedMetricError: E0406, naming the property and the metric.
    """
    for prop in program.properties:
        for metric in metrics_of(prop.query):
            if metric.weighted and not weighted.supported(metric):
                raise UnsupportedMetricError(
                    f"property {prop.name}",
                    f"there is no bound for weighted {metric.name}: its formula is no rate with a fixed denominator",
                    "weights go with pixel_accuracy, stability, recall, fnr, specificity and fpr",
                )


def refuse_steep(prop: Property) -> None:
    """Stop where rounding of the clean value moves a pooled threshold further than the value itself.

    Raises:
        UnsupportedMetricError: E0406, naming the property.
    """
    if isinstance(prop.query, WorstCaseQuery) or not is_pooled(prop):
        return
    leaves = [o for o in prop.query.objectives if isinstance(o, Degraded)]
    if any(not 0 <= o.threshold.slope <= 1 for o in leaves):
        raise UnsupportedMetricError(
            f"property {prop.name}",
            "a threshold that falls with the clean value, or grows faster, is not pooled where rounding is proved",
            "write a fixed threshold, or say --arithmetic exact",
        )


def is_pooled(prop: Property) -> bool:
    """Tell whether a property is about the data set as one whole."""
    return _first(prop.query).of_data_set


def metrics_of(query: Query) -> Iterator[Metric]:
    """List the metrics a query asks for."""
    if isinstance(query, WorstCaseQuery):
        yield query.metric
    else:
        for objective in query.objectives:
            yield from metrics_in(objective)


def _pooled_metric(prop: Property) -> Metric:
    query = prop.query
    whole = isinstance(query, WorstCaseQuery) or all(isinstance(o, Degraded) for o in query.objectives)
    metrics = set(metrics_of(query))
    metric = next(iter(metrics))
    objects = isinstance(metric.plan, PooledObjects | PooledComponents)
    linear = isinstance(metric.plan, Ranked | Precisions) or objects or metric.formula.linear
    if not whole or len(metrics) > 1 or not linear:
        raise UnsupportedMetricError(
            f"property {prop.name}",
            f"{metric.name} cannot be pooled in this way: its formula is no quotient of sums of counts",
            "ask for one pooled metric, such as `pooled iou[class]`",
        )
    return metric


def metrics_in(objective: Objective) -> Iterator[Metric]:
    """List the metrics of an objective's conditions."""
    if isinstance(objective, Degraded):
        yield objective.metric
    else:
        for part in objective.parts:
            yield from metrics_in(part)


def _first(query: Query) -> Metric:
    return next(metrics_of(query))


def is_unsure(metric: Metric, context: Context, constant: Constant) -> bool:
    """Tell whether an image may be worth something else than is computed: rounded, or of pixels made in doubles.

    Args:
        metric: the metric.
        context: the batch.
        constant: with the rounding of its logits.
    """
    made = context.coarse is not None and counting.has_cells(metric)
    return made or bool(constant.rounding or constant.boxes_rounding)


def soonest(
    threshold: Threshold,
    best: Sequence[Fraction | None],
    bound: FamilyBound,
    constant: Constant,
    *,
    unsure: bool,
) -> list[Fraction | None]:
    """Give of each image the threshold that is met soonest of all that may be meant.

    One that rises with the clean value is met soonest where that is best, one that falls where it is worst.

    Args:
        threshold: of a condition.
        best: what the images are worth at most.
        bound: of the metric, on these images.
        constant: with the rounding of the logits.
        unsure: see `is_unsure`.
    """
    if not unsure or threshold.slope >= 0:
        return [None if h is None else threshold.at(h) for h in best]
    worst = bound.worst_case((arithmetic.reach(constant),))
    return [None if row[0] is None else threshold.at(row[0]) for row in worst]


def attained_radius(objective: Degraded, clean: Fraction | None, gamma: Fraction | None) -> Value | None:
    """Radius at which the clean image itself meets an objective: 0, or not known to be finite."""
    if clean is None or gamma is None:
        return None
    return Fraction(0) if meets(objective, clean, gamma) else math.inf


def _all_of(values: Sequence[Value | None]) -> Value | None:
    """Maximum; an undefined operand leaves it undefined unless another is infinite (MATH.md 3.F)."""
    known = [v for v in values if v is not None]
    return max(known) if len(known) == len(values) or math.inf in known else None


def _any_of(values: Sequence[Value | None]) -> Value | None:
    """Minimum; an undefined operand leaves it undefined unless another is 0 (MATH.md 3.F)."""
    known = [v for v in values if v is not None]
    return min(known) if len(known) == len(values) or 0 in known else None
