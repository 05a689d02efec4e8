"""`--cross-check N` of a detector: attacks found by integer programs, against what was certified image by image."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import TypeAlias

import torch

from robspec.bounds.context import Context
from robspec.bounds.dataset import open_dataset_bound
from robspec.bounds.scene import Scene
from robspec.ir.types import Degraded, Detector, Metric, Objective, Program, Property, WorstCaseQuery
from robspec.kernels.knapsack import Backend
from robspec.oracle import objects, objects_together
from robspec.oracle.compare import BELOW, NO_TOLERANCE, Comparison, shown
from robspec.oracle.detections import Annotated, box
from robspec.semantics.constant import Constant
from robspec.semantics.norm import decimal_text
from robspec.verify import arithmetic
from robspec.verify.conditions import all_met, meets
from robspec.verify.crosscheck import points_of
from robspec.verify.evaluate import is_pooled, metrics_in, metrics_of
from robspec.verify.result import ImageResult, PropertyResult, Value

Attack: TypeAlias = Callable[[Fraction], tuple[Fraction, int] | None]
"""From a reach to the worst value attained within it, and how many choices there were."""


class ObjectsCrossCheck:
    """Collects some images of a check and looks for attacks that are worse than certified; as `CrossCheck`.

    Args:
        program: the compiled specification, of a detector.
        constants: of each property.
        images: how many images to check; spread over the data set.
        total: how many there are.
    """

    def __init__(self, program: Program, constants: Sequence[Constant], images: int, total: int) -> None:
        self.program = program
        self._constants = tuple(constants)
        few = min(images, total)
        self._wanted = {i * total // few for i in range(few)} if few else set()
        self._seen = 0
        self._kept: dict[str, Scene] = {}
        self._backend: Backend | None = None

    def observe(self, context: Context, names: Sequence[str], _: object = None) -> None:
        """Keep the images of a batch that were chosen."""
        _, scenes = context.detections()
        self._backend = context.backend
        self._kept.update({names[i]: scenes[i] for i in range(len(names)) if self._seen + i in self._wanted})
        self._seen += len(names)

    @property
    def steps(self) -> int:
        """How many steps `run` reports: one for each image and property, one for a property of all together."""
        whole = sum(is_pooled(p) for p in self.program.properties)
        return len(self._kept) * (len(self.program.properties) - whole) + whole

    @property
    def names(self) -> tuple[str, ...]:
        """The images that are checked."""
        return tuple(self._kept)

    def run(
        self, results: Sequence[PropertyResult], progress: Callable[[int], None] = lambda _: None
    ) -> Iterator[tuple[None, Comparison]]:
        """Compare everything.

        Args:
            results: what the check certified.
            progress: told of finished steps.

        Returns:
            Comparisons, in the order of the specification; a disagreement has no reproducer beside the image itself.
        """
        detector = self.program.model.detector
        if detector is None:
            raise ValueError("no detector")
        for result, constant in zip(results, self._constants, strict=True):
            if is_pooled(result.source):
                for comparison in self._together(result.source, constant, detector):
                    yield None, comparison
                progress(1)
                continue
            found = {i.image: i for i in result.images}
            for name, scene in self._kept.items():
                image = _image(scene, detector, constant)
                for comparison in _compared(name, result.source, constant, image, found[name]):
                    yield None, comparison
                progress(1)

    def _together(self, prop: Property, constant: Constant, detector: Detector) -> Iterator[Comparison]:
        """Bound the images that were kept, as if they were all, and attack each of them."""
        if self._backend is None or not self._kept:
            return
        metric = next(metrics_of(prop.query))
        exact, shift = arithmetic.bare(constant), arithmetic.shift(constant)
        pool = open_dataset_bound(metric, (1, 1, 1), exact)
        blank = torch.zeros(len(self._kept), 1, 1, 1)
        pool.add(Context(self._backend, blank, None, None, scenes=(detector, tuple(self._kept.values()))))
        images = [_image(scene, detector, constant) for scene in self._kept.values()]
        name, clean = f"{len(images)} images together", pool.clean()
        attack = partial(objects_together.worst, metric, images)
        still = partial(objects_together.value, metric, images, [{}] * len(images))
        for point in points_of(prop):
            if isinstance(prop.query, WorstCaseQuery):
                eps = prop.query.budgets[point]
                bound = pool.worst_case([eps + shift])[0]
                reach = eps * constant.value + constant.rounding
                yield _worst_case(name, prop, metric, attack, still, eps, reach, bound)
                continue
            objective = prop.query.objectives[point]
            gamma = None if clean is None or not isinstance(objective, Degraded) else objective.threshold.at(clean)
            radius = None if gamma is None else pool.radius(gamma, strict=objective.strict)  # type: ignore[union-attr]
            radius = arithmetic.lessened(radius, constant)
            if radius is None or not isinstance(objective, Degraded):
                yield _unsolved(name, prop, "whole images: radius")
            else:
                yield _radius(name, prop, objective, attack, still, constant, radius)
        pool.close()


def _compared(
    name: str, prop: Property, constant: Constant, image: objects.Image, found: ImageResult
) -> Iterator[Comparison]:
    for point in points_of(prop):
        certified = found.certified[point]
        if isinstance(prop.query, WorstCaseQuery):
            eps = prop.query.budgets[point]
            metric = prop.query.metric
            attack, still = partial(objects.worst, metric, image), partial(objects.value, metric, image, {})
            reach = eps * constant.value + constant.rounding
            yield _worst_case(name, prop, metric, attack, still, eps, reach, certified)
            continue
        objective = prop.query.objectives[point]
        if certified is None:
            yield _unsolved(name, prop, "whole image: radius")
        elif isinstance(objective, Degraded):
            attack = partial(objects.worst, objective.metric, image)
            still = partial(objects.value, objective.metric, image, {})
            yield _radius(name, prop, objective, attack, still, constant, certified)
        else:
            yield _combined(name, prop, objective, image, constant, certified)


def _worst_case(
    name: str,
    prop: Property,
    metric: Metric,
    attack: Attack,
    still: Callable[[], Fraction | None],
    eps: Fraction,
    reach: Fraction,
    bound: Value | None,
) -> Comparison:
    began = time.perf_counter()
    found = attack(reach)
    text = decimal_text(eps)
    what = f"{_part(prop)}: worst case at eps = {text if len(text) <= 12 else f'{float(eps):.6g}'}"
    if found is None or bound is None:
        clean = still()
        agreed = (clean is None) == (bound is None)
        same = agreed if clean is None or bound is None else None
        note = (
            "undefined on this image" if clean is None and bound is None else "" if same is None else "one is defined"
        )
        return _said(name, prop, what, "definition", bound, shown(clean), same, began, note)
    value, choices = found
    unsound = value > bound if metric.lower_is_better else value < bound
    note = "the bound is UNSOUND: an attack within reach attains worse" if unsound else ""
    method = f"integer programs, HiGHS, {choices} moves, boxes as they are"
    return _said(name, prop, what, method, bound, f"attained {shown(value)}", not unsound, began, note)


def _radius(
    name: str,
    prop: Property,
    objective: Degraded,
    attack: Attack,
    still: Callable[[], Fraction | None],
    constant: Constant,
    bound: Value,
) -> Comparison:
    began = time.perf_counter()
    clean, what = still(), f"{_part(prop)}: radius"
    if clean is None or bound == math.inf or bound == 0:
        return _said(name, prop, what, "none", bound, "not solved", None, began)
    found = attack(Fraction(bound) * constant.value + constant.rounding)
    if found is None:
        return _said(name, prop, what, "none", bound, "not solved", None, began)
    return _reached(name, prop, bound, meets(objective, found[0], objective.threshold.at(clean)), found[1], began)


def _combined(
    name: str, prop: Property, objective: Objective, image: objects.Image, constant: Constant, bound: Value
) -> Comparison:
    """Attacks aimed at each condition, held against the combination of all."""
    began, what = time.perf_counter(), "whole image: radius"
    asked = list(dict.fromkeys(metrics_in(objective)))
    clean = {metric: objects.value(metric, image, {}) for metric in asked}
    if bound == math.inf or bound == 0 or None in clean.values():
        return _said(name, prop, what, "none", bound, "not solved", None, began)
    met, choices = False, 0
    for metric in asked:
        reach = Fraction(bound) * constant.value + constant.rounding
        found, count = objects.attacks(metric, image, reach)
        choices = max(choices, count)
        for moved in found:
            values = {other: objects.value(other, image, moved) for other in asked}
            met |= all_met(objective, clean, values)
    return _reached(name, prop, bound, met, choices, began)


def _reached(name: str, prop: Property, bound: Value, met: bool, choices: int, began: float) -> Comparison:
    note = "the bound is UNSOUND: an attack within it meets the objective" if met else ""
    method = f"integer programs, HiGHS, {choices} moves, boxes as they are"
    found = f"{'<=' if met else '>='} {shown(bound)}"
    return _said(name, prop, f"{_part(prop)}: radius", method, bound, found, not met, began, note)


def _part(prop: Property) -> str:
    return "whole images" if is_pooled(prop) else "whole image"


def _unsolved(name: str, prop: Property, what: str) -> Comparison:
    note = "undefined, or a combination of metrics of all images together"
    return Comparison(name, prop.name, what, "none", BELOW, NO_TOLERANCE, "-", "not solved", None, 0.0, note)


def _said(
    name: str,
    prop: Property,
    what: str,
    method: str,
    bound: Value | None,
    found: str,
    agreed: bool | None,
    began: float,
    note: str = "",
) -> Comparison:
    taken = time.perf_counter() - began
    return Comparison(name, prop.name, what, method, BELOW, NO_TOLERANCE, shown(bound), found, agreed, taken, note)


def _image(scene: Scene, detector: Detector, constant: Constant) -> objects.Image:
    """The image in rationals."""
    o, p = scene.objects, constant.output_norm.p
    rows = zip(o.boxes.tolist(), o.classes.tolist(), o.crowd.tolist(), o.ignored.tolist(), strict=True)
    by_location = detector.match == "location"
    return objects.Image(
        tuple(tuple(map(Fraction, row)) for row in scene.scores.tolist()),
        () if by_location or scene.boxes is None else tuple(box(b) for b in scene.boxes.tolist()),
        ()
        if scene.centres is None or not by_location
        else tuple((Fraction(x), Fraction(y)) for x, y in scene.centres.tolist()),
        tuple((k, Annotated(box(b), crowd, ignored and not crowd)) for b, k, crowd, ignored in rows),
        detector,
        objects.threshold_of(detector),
        None if p is None else int(p),
    )
