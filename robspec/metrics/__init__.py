"""The built-in metrics, one file each: formula, polarity, undefined cases, source."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from robspec import registry
from robspec.metrics._info import MetricInfo, Takes

__all__ = ["MetricInfo", "Takes", "built_in"]


@lru_cache(maxsize=1)
def built_in() -> Mapping[str, MetricInfo]:
    """Every built-in metric under its name and under each of its aliases."""
    found: dict[str, MetricInfo] = {}
    for module in registry.modules(sys.modules[__name__]):
        info: MetricInfo = module.METRIC
        for name in (info.name, *info.aliases):
            found[name] = info
    return MappingProxyType(found)
