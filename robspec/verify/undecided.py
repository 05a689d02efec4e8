"""Which images an attack can still change a verdict on."""

from __future__ import annotations

from robspec.ir.types import Aggregate, WorstCaseQuery
from robspec.semantics.constant import ConstantStatus
from robspec.verify.decide import violates
from robspec.verify.result import ImageResult, PropertyResult, RequirementResult, Verdict


def places(prop: PropertyResult, point: int, *, everything: bool = False) -> list[int]:
    """List the images that are worth an attack at one swept point.

    Args:
        prop: what is known of the property.
        point: index of the swept point.
        everything: whether decided images are listed too, for the sake of their intervals.

    Returns:
        Indices into `prop.images`, ascending; none at a budget of 0, and no image on which the metric is undefined.
    """
    query = prop.source.query
    if isinstance(query, WorstCaseQuery) and query.budgets[point] == 0:
        return []
    asked = [r for r in prop.requirements if r.point == point]
    defined = [k for k, image in enumerate(prop.images) if image.attained[point] is not None]
    # What stands on an assumption an image can contradict, whatever the verdict.
    if everything or prop.constant.status is ConstantStatus.ASSUMED or prop.constant.assuming:
        return defined
    return [k for k in defined if any(_matters(r, prop.images[k]) for r in asked)]


def _matters(asked: RequirementResult, image: ImageResult) -> bool:
    """Whether worse images in place of this one could refute a requirement."""
    requirement = asked.requirement
    # A sample never refutes what is claimed of a population (MATH.md section 4).
    if asked.verdict is not Verdict.UNKNOWN or requirement.confidence is not None:
        return False
    low, high = image.certified[asked.point], image.attained[asked.point]
    if low is None or high is None or low == high:
        return False
    if requirement.aggregate not in (Aggregate.MIN, Aggregate.FRACTION):
        return True
    return violates(requirement, low) and not violates(requirement, high)
