"""Metrics of a data set as one whole, whatever they are: the one place that chooses how they are bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Protocol, runtime_checkable

from robspec.bounds._carried import Array
from robspec.bounds.context import Context
from robspec.bounds.detections import AveragePrecisions
from robspec.bounds.pooled import Pool
from robspec.bounds.pooled_components import PooledComponents
from robspec.bounds.pooled_objects import PooledObjects
from robspec.bounds.ranking import Ranking
from robspec.bounds.search import Found
from robspec.bounds.wholes import Wholes
from robspec.ir import plans
from robspec.ir.types import Metric
from robspec.semantics.constant import Constant


class DatasetBound(Protocol):
    """A metric of all images together, fed batch by batch."""

    @property
    def images(self) -> int:
        """How many images it was given."""
        ...

    def add(self, context: Context) -> None:
        """Read one batch."""
        ...

    def clean(self) -> Fraction | None:
        """Compute the clean value, exactly; None where undefined."""
        ...

    def worst_case(self, budgets: Sequence[Fraction]) -> tuple[Fraction | None, ...]:
        """Bound the value within each budget, never better than the true worst case."""
        ...

    def radius(self, gamma: Fraction | None, *, strict: bool) -> Found:
        """Bound the budget per image that meets a threshold, never above the true one."""
        ...

    def close(self) -> None:
        """Let go of what was kept of the images."""
        ...


@runtime_checkable
class Readable(DatasetBound, Protocol):
    """One for which whoever holds the logits of a batch can read it: `add` is `take` of `read`."""

    def read(self, context: Context) -> Iterator[Array]:
        """Give what is kept of a batch, int64 and float64; nothing here changes."""
        ...

    def take(self, arrays: Iterator[Array]) -> None:
        """Keep what was read of a batch; takes no more than its own arrays."""
        ...


def readable(metric: Metric) -> bool:
    """Whether the bound of a metric of a data set is `Readable`: it keeps less of an image than its logits."""
    return isinstance(metric.plan, plans.Pooled | plans.PooledMean | plans.PooledComponents)


def open_dataset_bound(
    metric: Metric, plane: tuple[int, int, int], constant: Constant, largest: Fraction | None = None
) -> DatasetBound:
    """Open a metric of a data set.

    Args:
        metric: one with `of_data_set`.
        plane: channels and sides of the plane of items of an image.
        constant: Lipschitz constant for the attack's norm.
        largest: the largest budget that will be asked, None when that is not known.
    """
    constant.refuse_samples()
    classes, whole = max(plane[0], 2), plane[1:] == (1, 1)
    match metric.plan:
        case plans.Precisions():
            return AveragePrecisions(metric, constant)
        case plans.PooledObjects():
            return PooledObjects(metric, constant)
        case plans.PooledComponents():
            return PooledComponents(metric, constant)
        case plans.Ranked():
            return Ranking(metric, constant)
        case plans.Pooled() | plans.PooledMean():
            return Wholes(metric, classes, constant) if whole else Pool(metric, classes, constant, largest)
    raise ValueError(f"{metric.name} has a value for each image")
