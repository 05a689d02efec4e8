"""`--cross-check N` of a detector: attacks found by integer programs, against what was certified image by image."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from robspec.bounds.context import Context
from robspec.bounds.scene import Scene
from robspec.ir.types import Degraded, Detector, Metric, Program, Property, WorstCaseQuery
from robspec.oracle import objects
from robspec.oracle.compare import BELOW, NO_TOLERANCE, Comparison, shown
from robspec.oracle.detections import Annotated, box
from robspec.semantics.constant import Constant
from robspec.semantics.norm import decimal_text
from robspec.verify.crosscheck import points_of
from robspec.verify.evaluate import is_pooled
from robspec.verify.result import ImageResult, PropertyResult, Value


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

    def observe(self, context: Context, names: Sequence[str], _: object = None) -> None:
        """Keep the images of a batch that were chosen."""
        _, scenes = context.detections()
        self._kept.update({names[i]: scenes[i] for i in range(len(names)) if self._seen + i in self._wanted})
        self._seen += len(names)

    @property
    def steps(self) -> int:
        """How many steps `run` reports: one for each image and property."""
        return len(self._kept) * len(self.program.properties)

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
            found = {i.image: i for i in result.images}
            for name, scene in self._kept.items():
                if is_pooled(result.source):
                    yield None, _unsolved(name, result.source)
                else:
                    image = _image(scene, detector, constant)
                    for comparison in _compared(name, result.source, constant, image, found[name]):
                        yield None, comparison
                progress(1)


def _compared(
    name: str, prop: Property, constant: Constant, image: objects.Image, found: ImageResult
) -> Iterator[Comparison]:
    for point in points_of(prop):
        certified = found.certified[point]
        if isinstance(prop.query, WorstCaseQuery):
            eps = prop.query.budgets[point]
            yield _worst_case(name, prop, prop.query.metric, image, eps, eps * constant.value, certified)
            continue
        objective = prop.query.objectives[point]
        if isinstance(objective, Degraded) and certified is not None:
            yield _radius(name, prop, objective, image, constant.value, certified)
        else:
            yield _unsolved(name, prop)


def _worst_case(
    name: str,
    prop: Property,
    metric: Metric,
    image: objects.Image,
    eps: Fraction,
    reach: Fraction,
    bound: Value | None,
) -> Comparison:
    began = time.perf_counter()
    found = objects.worst(metric, image, reach)
    text = decimal_text(eps)
    what = f"whole image: worst case at eps = {text if len(text) <= 12 else f'{float(eps):.6g}'}"
    if found is None or bound is None:
        clean = objects.value(metric, image, {})
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
    name: str, prop: Property, objective: Degraded, image: objects.Image, constant: Fraction, bound: Value
) -> Comparison:
    began = time.perf_counter()
    clean = objects.value(objective.metric, image, {})
    if clean is None or bound == math.inf or bound == 0:
        return _said(name, prop, "whole image: radius", "none", bound, "not solved", None, began)
    found = objects.worst(objective.metric, image, Fraction(bound) * constant)
    if found is None:
        return _said(name, prop, "whole image: radius", "none", bound, "not solved", None, began)
    value, gamma = found[0], objective.threshold.at(clean)
    if objective.metric.lower_is_better:
        value, gamma = -value, -gamma
    met = value < gamma if objective.strict else value <= gamma
    note = "the bound is UNSOUND: an attack within it meets the objective" if met else ""
    method = f"integer programs, HiGHS, {found[1]} moves, boxes as they are"
    mark = "<=" if met else ">="
    return _said(name, prop, "whole image: radius", method, bound, f"{mark} {shown(bound)}", not met, began, note)


def _unsolved(name: str, prop: Property) -> Comparison:
    what = "whole data set" if is_pooled(prop) else "whole image: radius"
    note = "no program is made for metrics of all images together, nor for combinations"
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
