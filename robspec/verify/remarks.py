"""Turns what a check counted into the notes of its report: nothing vacuous goes unremarked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

from robspec.ir.types import Program, WorstCaseQuery
from robspec.notes import Note, listed, percent
from robspec.verify.census import Census, View, leaves
from robspec.verify.evaluate import metrics_of
from robspec.verify.result import PropertyResult

_PLURAL = {"class": "classes", "side": "sides"}


def remarks(program: Program, census: Census, properties: Sequence[PropertyResult]) -> tuple[Note, ...]:
    """Say what makes a verdict worth less than it looks.

    Args:
        program: the compiled specification.
        census: what was counted.
        properties: the verdicts.

    Returns:
        Notes on the data set, then on single properties.
    """
    if not census.images:
        return ()
    data = (*_annotation(program, census), *_images(program, census))
    seen = (note for view in census.views.values() for note in _view(program, census, view))
    return (*data, *seen, *(note for p in properties for note in _property(program, census, p)))


def _annotation(program: Program, census: Census) -> Iterator[Note]:
    where, classes = f"data {program.data.name}", program.model.classes
    if not census.pixels:
        return
    missing = tuple(name for name, n in zip(classes, census.by_class, strict=True) if not n)
    if missing:
        task = program.model.task
        noun = "side" if task.sides else "class"
        names = f"{noun} {missing[0]} has" if len(missing) == 1 else f"{_PLURAL[noun]} {', '.join(missing)} have"
        found = f"{names} no annotated {task.item} in {_count(census.images, 'image')}"
        yield Note("class-without-pixels", where, found, {"classes": missing, "images": census.images})
    if census.ignored:
        share = Fraction(census.ignored, census.pixels)
        text = f"{percent(share)} of the pixels are ignored (label {program.data.ignore})"
        yield Note("pixels-ignored", where, text, {"share": share, "pixels": census.ignored})
    if census.all_ignored:
        names_ = tuple(census.all_ignored)
        text = f"{_count(len(names_), 'image')} of {census.images} with every pixel ignored: {listed(names_)}"
        yield Note("image-ignored", where, text, {"images": names_})


def _images(program: Program, census: Census) -> Iterator[Note]:
    where = f"data {program.data.name}"
    if census.images == 1:
        yield Note("one-image", where, "it consists of a single image", {"images": 1})
    groups = [tuple(names) for names in census.same.values() if isinstance(names, list)]
    if groups:
        extra = sum(len(g) - 1 for g in groups)
        shown = listed(tuple(" = ".join(g[:3]) + (" = ..." if len(g) > 3 else "") for g in groups))
        which = "all images hold the same pixels" if len(census.same) == 1 else f"of {census.images} images"
        text = f"{which}, {extra} {'is a copy' if extra == 1 else 'are copies'} of another: {shown}"
        repeated = tuple(name for group in groups for name in group[1:])
        yield Note("images-repeated", where, text, {"copies": extra, "images": repeated})
    if len(census.predicted) == 1 and not (program.model.task.scores or program.model.task.objects):
        everywhere = (
            "at every pixel of every clean image" if program.model.task.item == "pixel" else "for every clean image"
        )
        name = program.model.classes[next(iter(census.predicted))]
        text = f"the model predicts {name} {everywhere}"
        yield Note("one-class-predicted", where, text, {"class": name})


def _view(program: Program, census: Census, view: View) -> Iterator[Note]:
    """What metrics with a region, or with weights, do not see."""
    metric = view.metric
    what = []
    if metric.region:
        what.append(f"outside [{', '.join(program.model.classes[k] for k in metric.region)}]")
    if metric.region_mask:
        what.append("outside the region")
    if metric.weighted:
        what.append("of weight 0")
    if not what or not view.pixels:
        return
    reason = " or ".join(what)
    share = Fraction(view.pixels - view.counted, view.pixels)
    where = f"propert{'y' if len(view.properties) == 1 else 'ies'} {', '.join(view.properties)}"
    if share:
        of = "annotated pixels" if metric.needs_masks else "pixels"
        yield Note(
            "pixels-not-counted",
            where,
            f"{percent(share)} of the {of} do not count, being {reason}",
            {"share": share, "pixels": view.pixels - view.counted},
        )
    if view.empty:
        names = tuple(view.empty)
        text = f"{_count(len(names), 'image')} of {census.images} without a pixel that counts: {listed(names)}"
        yield Note("image-not-counted", where, text, {"images": names})
    within = range(len(census.by_class)) if not metric.region else metric.region
    gone = tuple(
        program.model.classes[k] for k in within if view.by_class and census.by_class[k] > view.by_class[k] == 0
    )
    if gone:
        text = f"every pixel of {', '.join(gone)} is {reason}"
        yield Note("class-not-counted", where, text, {"classes": gone})


def _property(program: Program, census: Census, result: PropertyResult) -> Iterator[Note]:
    where, query = f"property {result.source.name}", result.source.query
    excluded = result.excluded
    if excluded:
        text = f"{len(excluded)} excluded, metric undefined ({listed(excluded)})"
        if len(excluded) == len(result.images):
            text += "; nothing is left to judge"
        yield Note("metric-undefined", where, text, {"images": excluded})
    asked = {k for m in metrics_of(query) for part in leaves(m) if part.needs_masks for k in part.classes}
    missing = tuple(program.model.classes[k] for k in sorted(asked) if census.pixels and not census.by_class[k])
    if missing:
        text = f"its metric asks about {', '.join(missing)}, which is annotated nowhere"
        yield Note("class-asked-for-is-nowhere", where, text, {"classes": missing})
    if result.constant.value == 0:
        yield Note("model-is-constant", where, "the proved constant is 0: the output does not depend on the image")
    if isinstance(query, WorstCaseQuery):
        if not any(query.budgets):
            yield Note("budget-is-zero", where, "its budget is 0: it says nothing about attacks")
        return
    vacuous = tuple(i.image for i in result.images if math.inf in i.certified)
    if vacuous:
        text = f"radius infinite, objective out of reach: {listed(vacuous)}"
        yield Note("radius-infinite", where, text, {"images": vacuous})


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
