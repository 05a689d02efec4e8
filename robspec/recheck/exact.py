"""Flip costs as exact integers and rationals (MATH.md section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256

import numpy as np

from robspec.oracle.scene import BoolArray, FloatArray, Scene


@dataclass(frozen=True, slots=True)
class Priced:
    """What some pixels cost to flip, ascending.

    Args:
        costs: in units; integers, or rationals where several classes must be left together.
        unit: of one, in ||a||_q^q (||a|| for infinity).
    """

    costs: tuple[int | Fraction, ...]
    unit: Fraction

    def prefixes(self, unit: Fraction, *, shared: bool) -> list[int | Fraction]:
        """What the n cheapest cost together, for n = 0, 1, ...: their sum, or the dearest where nothing is shared.

        Args:
            unit: to count in; this one divided by a whole number.
            shared: whether flips share a budget.
        """
        times = self.unit / unit
        factor = times.numerator if times.denominator == 1 else times
        found: list[int | Fraction] = [0]
        for cost in self.costs:
            found.append(found[-1] + cost * factor if shared else cost * factor)
        return found

    def times(self, share: Fraction) -> Priced:
        """The same items at a share of their costs."""
        return self if share == 1 or not self.costs else Priced(self.costs, self.unit * share)

    def merged(self, other: Priced) -> Priced:
        """All items of both, in the finer unit."""
        if not self.costs or not other.costs:
            return self if self.costs else other
        unit = min(self.unit, other.unit)
        found: list[int | Fraction] = []
        for one in (self, other):
            times = one.unit / unit
            found += [cost * (times.numerator if times.denominator == 1 else times) for cost in one.costs]
        return Priced(tuple(sorted(found)), unit)

    def digest(self) -> str:
        """SHA-256 of the costs, written exactly."""
        words = (str(self.unit), *map(str, self.costs))
        return sha256("\n".join(words).encode()).hexdigest()


def integers(z: FloatArray) -> tuple[list[list[int]], Fraction]:
    """Write doubles as integers in one common unit, without rounding.

    Args:
        z: [N, K], finite.

    Returns:
        The integers and the unit, a power of two.
    """
    fraction, exponent = np.frexp(z)
    mantissa = (fraction * 2.0**53).astype(np.int64)
    low = int(exponent[mantissa != 0].min()) if (mantissa != 0).any() else 0
    shifts = np.where(mantissa == 0, 0, exponent - low)
    rows = zip(mantissa.tolist(), shifts.tolist(), strict=True)
    return [[m << s for m, s in zip(*row, strict=True)] for row in rows], Fraction(2) ** (low - 53)


def price(scene: Scene, chosen: BoolArray, inside: tuple[int, ...] | None) -> Priced:
    """Price crossing from the side of the prediction to the other side.

    Args:
        scene: the image.
        chosen: [N], the pixels to price.
        inside: a class set, whose border is crossed; None for the predicted class against all others.

    Returns:
        The costs of the chosen pixels.
    """
    costs, unit = prices(scene, chosen, inside)
    return Priced(tuple(sorted(costs)), unit)


def price_ranked(scene: Scene, chosen: BoolArray, rank: int) -> Priced:
    """Price pushing the annotated class of pixels below a rank: `rank` others level with it.

    Args:
        scene: the image, of several logits.
        chosen: [N], the pixels to price, whose class has one of the `rank` largest logits.
        rank: at least 2.
    """
    z, labels = scene.logits[chosen], scene.labels[chosen].tolist()
    if not len(z):
        return Priced((), Fraction(1))
    rows, unit = integers(z)
    found: list[int | Fraction] = []
    for row, label in zip(rows, labels, strict=True):
        gaps = sorted(max(row[label] - v, 0) for k, v in enumerate(row) if k != label)[:rank]
        # The own class comes down by t, and the nearest others come up to meet it.
        found.append(_doubled(gaps) if scene.q == 2 else gaps[-1])
    units = {1: unit, 2: unit**2 / 2, None: unit / 2}
    return Priced(tuple(sorted(found)), units[scene.q])


def prices(
    scene: Scene, chosen: BoolArray, inside: tuple[int, ...] | None, *, pairs: bool = False
) -> tuple[list[int | Fraction], Fraction]:
    """As `price`, in the order of the pixels, with the unit apart.

    Args:
        scene: the image.
        chosen: [N], the pixels to price.
        inside: a class set, or None.
        pairs: whether to price the best class of one side against the best of the other alone, which is never dearer
            and always a whole number of units.
    """
    z, predicted = scene.logits[chosen], scene.predicted[chosen]
    if not len(z):
        return [], Fraction(1)
    rows, unit = integers(z)
    if z.shape[1] == 1:
        singles = [abs(row[0]) for row in rows]
        return [v * v for v in singles] if scene.q == 2 else list(singles), unit**2 if scene.q == 2 else unit
    every = np.arange(z.shape[1])
    own = every[None, :] == predicted[:, None]
    if inside is not None:
        within = np.isin(every, inside)
        own = within[None, :] == np.isin(predicted, inside)[:, None]
    best = np.argmax(np.where(own, -np.inf, z), axis=1).tolist()
    above = (own & (z > z[np.arange(len(z)), best][:, None])).tolist()
    found: list[int | Fraction] = []
    for row, goal, over in zip(rows, best, above, strict=True):
        gaps = [v - row[goal] for v, taken in zip(row, over, strict=True) if taken]
        if scene.q == 2:
            # min over t of t^2 + sum (g - t)_+^2, doubled; the g below the level t are not lowered.
            found.append(_doubled([max(gaps)] if pairs and gaps else gaps))
        else:
            found.append(max(gaps, default=0))
    units = {1: unit, 2: unit**2 / 2, None: unit / 2}
    return found, units[scene.q]


def _doubled(gaps: list[int]) -> int | Fraction:
    if len(gaps) < 2:
        return gaps[0] * gaps[0] if gaps else 0
    best: Fraction | None = None
    total = squares = 0
    for n, gap in enumerate(sorted(gaps, reverse=True), start=1):
        if best is not None and gap * n <= total:
            break
        total += gap
        squares += gap * gap
        best = Fraction(2 * ((n + 1) * squares - total * total), n + 1)
    return best if best is not None else 0
