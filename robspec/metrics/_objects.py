"""Metrics of objects that a detector finds: counts are of objects and detections, and no class given means all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType

from robspec.metrics._info import MetricInfo, Takes, one_class

COCO = tuple(Fraction(n, 20) for n in range(10, 20))
"""Overlaps that COCO averages over: 0.5, 0.55 up to 0.95."""
STEP = Fraction(1, 20)
"""Between overlaps of a range."""
_PRECISION = "COCO's average over 101 recalls of the largest precision at that recall or above"


def _average(name: str, summary: str, arguments: tuple[str, ...]) -> MetricInfo:
    return MetricInfo(
        name=name,
        summary=summary,
        formula=_PRECISION,
        lower_is_better=False,
        undefined="data sets without an object of the classes",
        source="Lin et al. 2014; DETECTION.md D4",
        classes=Takes.MAY,
        arguments=arguments,
        parameters=("k",),
        items="average_precision",
    )


def _count(name: str, summary: str, formula: str, source: str) -> MetricInfo:
    made = one_class(name, summary, formula, source=source, undefined="", lower_is_better=True)
    return replace(made, classes=Takes.MAY)


_OWN = (
    _count("false_positives", "how many detections are wrong", "FP[k]", "DETECTION.md D3"),
    _count("missed", "how many objects are not found", "FN[k]", "DETECTION.md D2"),
    MetricInfo(
        name="mislabelled",
        summary="how many objects are missed while a wrong detection of another class covers them",
        formula="missed objects of k that a wrong detection of another class covers",
        lower_is_better=True,
        undefined="",
        source="DETECTION.md D5",
        classes=Takes.MAY,
        parameters=("k",),
        items="mislabelled",
    ),
    _average("average_precision", "average precision at an overlap", ("overlap",)),
    _average(
        "mean_average_precision",
        "mean over the annotated classes, and over overlaps from one to another, of the average precision",
        ("overlap",),
    ),
    _average("coco_average_precision", "the mean over classes and the overlaps 0.5, 0.55, ..., 0.95", ()),
)


@lru_cache(maxsize=1)
def of_objects(built_in: tuple[MetricInfo, ...]) -> Mapping[str, MetricInfo]:
    """What changes and what is added where the model is a detector.

    Args:
        built_in: the metrics of other models.
    """
    found = {
        name: replace(info, classes=Takes.MAY)
        for info in built_in
        if info.has_formula and info.parameters == ("k",)
        for name in (info.name, *info.aliases)
    }
    return MappingProxyType(found | {info.name: info for info in _OWN})
