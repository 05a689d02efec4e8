"""How a metric's worst case is found: one small type for each way, with what it needs and the proof it rests on.

What a file does with a metric it decides by the type of its plan; `family` names the module of `robspec.bounds` that
bounds it, and the word that reports, the catalogue and saved programs use.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from robspec.semantics.classify import Flip
from robspec.semantics.formula import Polynomial, Ratio

if TYPE_CHECKING:
    from robspec.ir.types import Metric

_LOGITS = "exact over the logits within reach"
_SCORES = "exact over the scores within reach"
_SOUND = "a sound bound, not always attained"


@dataclass(frozen=True, slots=True)
class Proof:
    """Where the bound of a plan is proved, and what it claims.

    Args:
        section: of MATH.md, or of DETECTION.md, which then is named.
        algorithm: how the worst case is found, in words.
        claim: how the bound lies to the worst case over the relaxed set, in words.
        exact: whether it is that worst case, not only no better.
    """

    section: str
    algorithm: str
    claim: str
    exact: bool

    @property
    def place(self) -> str:
        """Where it is written down, as a reader is told."""
        return self.section if "DETECTION" in self.section else f"section {self.section}"


class Measure(enum.Enum):
    """What is measured of ranked scores."""

    AUROC = "auroc"
    AVERAGE_PRECISION = "average_precision"
    TPR_AT = "tpr_at"
    FPR_AT = "fpr_at"
    FPR_AT_TPR = "fpr_at_tpr"


class Attacked(enum.Enum):
    """Whose images are attacked where scores are ranked."""

    ANOMALOUS = "anomalous"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Formula:
    """The value of one class set by its counts TP, FP, FN and TN.

    Args:
        ratio: in the metric's own sense; proved monotone along both kinds of flips.
        defined: defined iff non-zero on the clean counts; a polynomial in the sums TP + FN and FP + TN, which the
            annotation fixes. None: wherever there is a pixel to count.
        worst_when_undefined: an attack can bring the denominator to 0; the value then is the worst one, the metric's
            `low`, or `high` where lower is better.
    """

    ratio: Ratio
    defined: Polynomial | None = None
    worst_when_undefined: bool = False

    @property
    def linear(self) -> bool:
        """Whether it is a quotient of two sums of counts."""
        return self.ratio.numerator.linear and self.ratio.denominator.linear


_COUNTING = Proof("3.A", "as many of the cheapest flips as the budget pays", _LOGITS, exact=True)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The share of items whose annotated class is among the largest logits: MATH.md 3.A, exact.

    Args:
        rank: among how many of the largest.
    """

    rank: int = 1

    family: ClassVar[str] = "counting"
    proof: ClassVar[Proof] = _COUNTING
    of_data_set: ClassVar[bool] = False
    classes: ClassVar[tuple[int, ...]] = ()


@dataclass(frozen=True, slots=True)
class Stability:
    """The share of items whose prediction is that on the clean image: MATH.md 3.A, exact."""

    family: ClassVar[str] = "counting"
    proof: ClassVar[Proof] = _COUNTING
    of_data_set: ClassVar[bool] = False
    classes: ClassVar[tuple[int, ...]] = ()


@dataclass(frozen=True, slots=True)
class Rate:
    """A formula that falls by the same amount with each flip of one kind: MATH.md 3.A, exact.

    Args:
        formula: its denominator is fixed by the annotation.
        classes: indices, a set counting as one merged class.
        flips: the only ones that change it.
    """

    formula: Formula
    classes: tuple[int, ...]
    flips: Flip

    family: ClassVar[str] = "counting"
    proof: ClassVar[Proof] = _COUNTING
    of_data_set: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Quotient:
    """A formula over the counts of one class set, monotone in both kinds of flips: MATH.md 3.C, exact.

    Args:
        formula: the value.
        classes: indices, a set counting as one merged class.
    """

    formula: Formula
    classes: tuple[int, ...]

    family: ClassVar[str] = "ratio"
    proof: ClassVar[Proof] = Proof(
        "3.C", "for each number of lost hits, the most false alarms the rest of the budget pays", _LOGITS, exact=True
    )
    of_data_set: ClassVar[bool] = False


_KNAPSACK = Proof(
    "3.B",
    "the dual bound of the knapsack: which pixels to flip when they count differently",
    _SOUND,
    exact=False,
)


@dataclass(frozen=True, slots=True)
class Weighted:
    """A count in which each pixel has the weight of the data's weight files: MATH.md 3.B, a sound bound.

    Args:
        of: what is counted; the formula of a rate is a quotient of two sums of counts.
    """

    of: Accuracy | Stability | Rate

    family: ClassVar[str] = "weighted"
    proof: ClassVar[Proof] = _KNAPSACK
    of_data_set: ClassVar[bool] = False

    @property
    def classes(self) -> tuple[int, ...]:
        """Class indices of a rate."""
        return self.of.classes


@dataclass(frozen=True, slots=True)
class MeanRate:
    """The average of a rate over the classes in the annotation, a weighted count: MATH.md 3.B, a sound bound.

    Args:
        formula: of each class; each lost hit costs its class the same.
        classes: averaged over; empty for all.
        frequency: whether each class has its share of the annotated pixels as weight, and not all the same.
    """

    formula: Formula
    classes: tuple[int, ...]
    frequency: bool = False

    family: ClassVar[str] = "weighted"
    proof: ClassVar[Proof] = _KNAPSACK
    of_data_set: ClassVar[bool] = False


_LAGRANGE = Proof("3.D", "the classes share the budget through a Lagrange multiplier", _SOUND, exact=False)


@dataclass(frozen=True, slots=True)
class Mean:
    """The average of a formula over the classes in the annotation: MATH.md 3.D, a sound bound.

    Args:
        formula: of each class; at least one class must be defined.
        classes: averaged over; empty for all.
        frequency: whether each class has its share of the annotated pixels as weight, and not all the same.
    """

    formula: Formula
    classes: tuple[int, ...]
    frequency: bool = False

    family: ClassVar[str] = "macro"
    proof: ClassVar[Proof] = _LAGRANGE
    of_data_set: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Sum:
    """A combination of formulas of several class sets that the user wrote out: MATH.md 3.D, a sound bound.

    Args:
        parts: weight (>= 0) and metric: each a rate or a quotient, of the polarity of the whole; defined where every
            part is.
    """

    parts: tuple[tuple[Fraction, Metric], ...]

    family: ClassVar[str] = "macro"
    proof: ClassVar[Proof] = _LAGRANGE
    of_data_set: ClassVar[bool] = False
    classes: ClassVar[tuple[int, ...]] = ()


@dataclass(frozen=True, slots=True)
class Pooled:
    """A quotient of sums over all images, each with a budget of its own: MATH.md 3.E, exact.

    Args:
        formula: a quotient of two sums of counts; defined by the counts of all images together.
        classes: indices, a set counting as one merged class.
    """

    formula: Formula
    classes: tuple[int, ...]

    family: ClassVar[str] = "pooled"
    proof: ClassVar[Proof] = Proof(
        "3.E", "Dinkelbach over what each image can lose, confirmed at the end", _LOGITS, exact=True
    )
    of_data_set: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class PooledMean:
    """The mean of pooled quotients over the annotated classes: MATH.md 3.E, a sound bound, exact for each class.

    Args:
        formula: of each class, a quotient of two sums of counts.
        classes: averaged over; empty for all.
    """

    formula: Formula
    classes: tuple[int, ...]

    family: ClassVar[str] = "pooled"
    proof: ClassVar[Proof] = Proof("3.E", "the mean of the pooled worst cases of the classes", _SOUND, exact=False)
    of_data_set: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Ranked:
    """A metric of the scores of all images, each in a ball of its own: MATH.md 3.H, exact.

    Args:
        measure: what is measured.
        attacked: whose images; None while no property has said so.
    """

    measure: Measure
    attacked: Attacked | None = None

    family: ClassVar[str] = "scores"
    proof: ClassVar[Proof] = Proof(
        "3.H",
        "every image moved as far as its ball allows, at once: no image's move hinders another's",
        _SCORES,
        exact=True,
    )
    of_data_set: ClassVar[bool] = True
    classes: ClassVar[tuple[int, ...]] = ()


@dataclass(frozen=True, slots=True)
class Objects:
    """A formula over the objects of an image found, missed and wrongly reported: DETECTION.md D2, D3, a sound bound.

    By location, rather than by overlap, it is exact.

    Args:
        formula: over TP, FP and FN.
        classes: indices counted together; empty for all.
        mislabelled: whether FN are the objects that a wrong detection covers, and TP all others.
    """

    formula: Formula
    classes: tuple[int, ...]
    mislabelled: bool = False

    family: ClassVar[str] = "objects"
    proof: ClassVar[Proof] = Proof(
        "DETECTION.md D2 and D3",
        "for each number of objects that vanish, the most detections the rest of the budget adds",
        f"{_SOUND}; by location, {_SCORES}",
        exact=False,
    )
    of_data_set: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class PooledObjects:
    """A quotient of sums over the objects of all images: MATH.md 3.E and DETECTION.md D3, a sound bound.

    Args:
        formula: over TP, FP and FN, a quotient of two sums of counts, or a sum of counts.
        classes: indices counted together; empty for all.
        mislabelled: as of `Objects`.
    """

    formula: Formula
    classes: tuple[int, ...]
    mislabelled: bool = False

    family: ClassVar[str] = "pooled"
    proof: ClassVar[Proof] = Proof(
        "3.E and DETECTION.md D3", Pooled.proof.algorithm, Objects.proof.claim, exact=False
    )
    of_data_set: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Components:
    """The share of the connected parts of a class set that are found: MATH.md 3.I, a sound bound.

    Of a single class it is attained over the logits within reach; sets of classes are priced by pairs.

    Args:
        classes: indices, a set counting as one merged class.
    """

    classes: tuple[int, ...]

    family: ClassVar[str] = "components"
    proof: ClassVar[Proof] = Proof(
        "3.I",
        "as many objects as the budget pays, each for the cheapest of its pixels until it is lost",
        f"{_SOUND}; of a single class, {_LOGITS}",
        exact=False,
    )
    of_data_set: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class PooledComponents:
    """The share of the connected parts of a class set, of all images together, that are found: MATH.md 3.I, sound.

    Args:
        classes: indices, a set counting as one merged class.
    """

    classes: tuple[int, ...]

    family: ClassVar[str] = "pooled"
    proof: ClassVar[Proof] = Proof(
        "3.I",
        "on every image as many objects as its budget pays, each for the cheapest of its pixels until it is lost",
        Components.proof.claim,
        exact=False,
    )
    of_data_set: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Precisions:
    """The average precision of a detector, at the overlaps that are the metric's arguments: DETECTION.md D4, sound.

    Args:
        classes: averaged over; empty for all.
    """

    classes: tuple[int, ...]

    family: ClassVar[str] = "detections"
    proof: ClassVar[Proof] = Proof(
        "DETECTION.md D4",
        "at any thresholds, the objects certainly found and the detections that may be wrong",
        _SOUND,
        exact=False,
    )
    of_data_set: ClassVar[bool] = True


Plan: TypeAlias = (
    Accuracy
    | Stability
    | Rate
    | Quotient
    | Weighted
    | MeanRate
    | Mean
    | Sum
    | Pooled
    | PooledMean
    | Ranked
    | Objects
    | PooledObjects
    | Components
    | PooledComponents
    | Precisions
)

OverCounts: TypeAlias = Rate | Quotient | MeanRate | Mean | Pooled | PooledMean | Objects | PooledObjects
"""Plans with a formula over the counts of a class set."""

OverClasses: TypeAlias = MeanRate | Mean | PooledMean
"""Plans that average one formula over classes."""


def unweighted(plan: Plan) -> Plan:
    """What is counted, whether or not each item has a weight."""
    return plan.of if isinstance(plan, Weighted) else plan
