"""What every built-in metric means, written down once more from its definition, over lists of labels."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from tests.property.questions import IGNORED, NUMBERS

F = Fraction
Counts = tuple[int, int, int, int]


def counts(labels: list[int], found: list[int], inside: set[int]) -> Counts:
    """TP, FP, FN, TN of a class set over the pixels that are annotated."""
    pairs = [(y in inside, p in inside) for y, p in zip(labels, found, strict=True) if y != IGNORED]
    tp, fp, fn, tn = (pairs.count(c) for c in ((True, True), (False, True), (True, False), (False, False)))
    return tp, fp, fn, tn


def share(above: int | Fraction, below: int | Fraction) -> Fraction:
    """A quotient; the worst value, 0, where it is 0/0."""
    return F(above) / F(below) if below else F(0)


BETA, A, B = (F(NUMBERS[n]) for n in ("beta", "a", "b"))
RATES: dict[str, Callable[[int, int, int, int], Fraction]] = {
    "dice": lambda tp, fp, fn, tn: share(2 * tp, 2 * tp + fp + fn),
    "f_beta": lambda tp, fp, fn, tn: share((1 + BETA**2) * tp, (1 + BETA**2) * tp + fp + BETA**2 * fn),
    "fnr": lambda tp, fp, fn, tn: share(fn, tp + fn),
    "fpr": lambda tp, fp, fn, tn: share(fp, fp + tn),
    "iou": lambda tp, fp, fn, tn: share(tp, tp + fp + fn),
    "precision": lambda tp, fp, fn, tn: share(tp, tp + fp),
    "recall": lambda tp, fp, fn, tn: share(tp, tp + fn),
    "specificity": lambda tp, fp, fn, tn: share(tn, fp + tn),
    "tversky": lambda tp, fp, fn, tn: share(tp, tp + A * fp + B * fn),
}
MEANS = {"mean_iou": "iou", "mean_dice": "dice", "mean_accuracy": "recall", "frequency_weighted_iou": "iou"}


def value(text: str, labels: list[int], clean: list[int], found: list[int]) -> Fraction | None:
    """What a metric is on one image, written down once more from its definition; None where undefined."""
    name = text.split("(")[0].split("[")[0].split()[0]
    inside = {int(c) for c in text.split("[")[-1] if c.isdigit()} if "[" in text else set()
    if name == "stability":
        return F(sum(p == c for p, c in zip(found, clean, strict=True)), len(found))
    if " in [" in text:
        labels = [y if y in inside else IGNORED for y in labels]
    kept = [y for y in labels if y != IGNORED]
    if name == "pixel_accuracy":
        return F(sum(y == p for y, p in zip(labels, found, strict=True)), len(kept)) if kept else None
    if name in MEANS:
        present = sorted(set(kept))
        if not present:
            return None
        equal = name != "frequency_weighted_iou"
        weights = [F(1, len(present)) if equal else F(kept.count(k), len(kept)) for k in present]
        rates = [RATES[MEANS[name]](*counts(labels, found, {k})) for k in present]
        return sum((w * r for w, r in zip(weights, rates, strict=True)), F(0))
    tp, fp, fn, tn = counts(labels, found, inside)
    if not (fp + tn if name in ("specificity", "fpr") else tp + fn):
        return None
    return RATES[name](tp, fp, fn, tn)
