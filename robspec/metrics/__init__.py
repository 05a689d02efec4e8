"""The built-in metrics, one file each: formula, polarity, undefined cases, source."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from robspec import registry
from robspec.metrics import _objects
from robspec.metrics._info import MetricInfo, Takes

__all__ = ["MetricInfo", "Takes", "built_in", "of_objects"]


@lru_cache(maxsize=1)
def built_in() -> Mapping[str, MetricInfo]:
    """Every built-in metric under its name and under each of its aliases."""
    found: dict[str, MetricInfo] = {}
    for module in registry.modules(sys.modules[__name__]):
        info: MetricInfo = module.METRIC
        for name in (info.name, *info.aliases):
            found[name] = info
    return MappingProxyType(found)


def of_objects() -> Mapping[str, MetricInfo]:
    """Every metric of a detector that is not as in `built_in`, under its name and its aliases."""
    return _objects.of_objects(tuple(dict.fromkeys(built_in().values())))
