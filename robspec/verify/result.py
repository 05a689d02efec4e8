"""What a check finds: per-image intervals, per-requirement verdicts, provenance."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

from robspec.ir.types import Aggregate, Privacy, Program, Property, Requirement
from robspec.lipschitz.derivation import Cost
from robspec.lipschitz.pair import Pair
from robspec.notes import Note
from robspec.oracle.compare import Comparison
from robspec.semantics.constant import Constant
from robspec.verify import frame as frames

Value: TypeAlias = Fraction | float
"""An exact rational, or math.inf for a radius no attack can reach."""


class Verdict(enum.Enum):
    """MATH.md section 7."""

    PROVED = "PROVED"
    REFUTED = "REFUTED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Attack:
    """A concrete image within the budget.

    Args:
        distance: a bound on its distance from the clean image in the property's norm, rounded up.
        path: where it is stored, a float32 array in the units of the declared input.
    """

    distance: Fraction
    path: Path


@dataclass(frozen=True, slots=True)
class ImageResult:
    """One image under one property.

    Args:
        image: the image's name.
        clean: value of the (first) metric on the clean image, or None where it is undefined.
        certified: per swept point, the certified bound on the value (worst_case or radius).
        attained: per swept point, the value a concrete input attains (the clean image, until an attack does worse):
            the true value lies between `certified` and `attained`.
        attacks: per swept point, the input that attains it, None where it is the clean image; empty where all are.
        pairs: per swept point, what the pair bound alone would certify; empty where it was not asked for or is the
            bound used.
    """

    image: str
    clean: Fraction | None
    certified: tuple[Value | None, ...]
    attained: tuple[Value | None, ...]
    pairs: tuple[Value | None, ...] = ()
    attacks: tuple[Attack | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """Why a requirement is neither proved nor refuted.

    Args:
        causes: "constant-too-large" or "images-near-boundary", and "no-attack-tried" where an attack could refute.
        provable: the largest budget, or radius, at which it is proved; rounded down, 0 for none.
        needed: the Lipschitz constant at which it would be proved as it stands, about.
        measured: a slope that two images realise, rounded down: no constant of this network is smaller; None where
            none was searched.
        costliest: what costs the proved constant most; None where nothing multiplies distances.
        advice: what to do next, one line each.
    """

    causes: tuple[str, ...]
    provable: Fraction
    needed: Fraction
    measured: Fraction | None
    costliest: Cost | None
    advice: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RequirementResult:
    """One requirement at one swept point.

    Args:
        requirement: what was asked.
        point: index of the swept point.
        certified: the aggregate of the certified bounds; None when nothing was evaluated.
        attained: the aggregate of the attained values.
        verdict: PROVED, REFUTED or UNKNOWN.
        reason: one sentence on how the verdict came about.
        witnesses: images whose attained values refute the requirement.
        gap: why it is UNKNOWN, once that has been looked into.
    """

    requirement: Requirement
    point: int
    certified: Value | None
    attained: Value | None
    verdict: Verdict
    reason: str
    witnesses: tuple[str, ...] = ()
    gap: Gap | None = None


@dataclass(frozen=True, slots=True)
class Worst:
    """The image with the worst certified value: the lowest worst case (if lower is better, the highest) or radius.

    Args:
        image: the first such image's name.
        certified: its certified value.
        attained: what a concrete input attains there.
        images: how many images have this certified value.
    """

    image: str
    certified: Value
    attained: Value | None
    images: int


@dataclass(frozen=True, slots=True)
class DataSet:
    """One of several data sets that a report is about.

    Args:
        name: in the specification.
        images: how many it has.
        evaluated: how many were evaluated.
        sha256: of its names and bytes; empty until the report is finished.
    """

    name: str
    images: int
    evaluated: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class PropertyResult:
    """Everything found about one property.

    Args:
        source: what was asked.
        constant: what its bounds stand on.
        images: by image.
        requirements: by requirement and swept point.
        part: of which data set this is only a part, in words; empty where it is all of it.
        data: the data set it is about, where the report is about several.
    """

    source: Property
    constant: Constant
    images: tuple[ImageResult, ...]
    requirements: tuple[RequirementResult, ...]
    part: str = ""
    data: DataSet | None = None

    @property
    def verdict(self) -> Verdict:
        """REFUTED if any requirement is; PROVED if every one is; else UNKNOWN."""
        verdicts = {r.verdict for r in self.requirements}
        if Verdict.REFUTED in verdicts:
            return Verdict.REFUTED
        return Verdict.PROVED if verdicts == {Verdict.PROVED} else Verdict.UNKNOWN

    @property
    def label(self) -> str:
        """The verdict as it must be shown."""
        return self.worded(self.verdict)

    def worded(self, verdict: Verdict) -> str:
        """Word a verdict as it must be shown: a proof that rests on an assumption, or on some images, says so."""
        word: str = verdict.value
        return f"{word}{self.constant.qualifier if verdict is Verdict.PROVED else ''}{self.part}"

    def gains(self, point: int) -> list[Fraction]:
        """List how much more water filling certifies than the pair bound, image by image, where both are finite."""
        ends = [(i.certified[point], i.pairs[point]) for i in self.images if i.pairs]
        known = [(Fraction(a), Fraction(b)) for a, b in ends if None not in (a, b) and math.inf not in (a, b)]  # type: ignore[arg-type]
        return [abs(a - b) for a, b in known]

    def worst(self, item: RequirementResult) -> Worst | None:
        """Find the image whose certified value is worst for a requirement on single images.

        Args:
            item: one of `requirements`.

        Returns:
            The first such image; None for a share of no image, and for means, quantiles and pooled metrics.
        """
        if item.requirement.aggregate not in (Aggregate.MIN, Aggregate.FRACTION):
            return None
        known = [(v, i) for i in self.images if (v := i.certified[item.point]) is not None]
        if not known:
            return None
        values = [v for v, _ in known]
        value = min(values) if item.requirement.relation.upward else max(values)
        first = next(i for v, i in known if v == value)
        return Worst(first.image, value, first.attained[item.point], values.count(value))

    @property
    def excluded(self) -> tuple[str, ...]:
        """Images on which the metric is undefined."""
        return tuple(i.image for i in self.images if i.certified[0] is None)


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """What became of a Lipschitz constant the specification declares.

    Args:
        text: the claim, in words.
        claimed: its value.
        proved: the bound proved from the graph, rounded up, or None where the graph cannot be analysed.
        measured: the ratio a stored pair of images realises, rounded down, or None when none was searched.
        verdict: PROVED, REFUTED or UNKNOWN.
        reason: one sentence.
        pair: the pair that refutes it, or None.
    """

    text: str
    claimed: Fraction
    proved: Fraction | None
    measured: Fraction | None
    verdict: Verdict
    reason: str
    pair: Pair | None


@dataclass(frozen=True, slots=True)
class PrivacyResult:
    """What became of the privacy that the specification asks of the training.

    Args:
        asked: the requirement.
        verdict: PROVED or UNKNOWN: epsilon is bounded from above, which refutes nothing.
        epsilon: the bound at the delta that is asked for, as the accountant computed it; None where it was not asked.
        reason: one sentence.
        card: the file that tells of the training.
        facts: what that says of it, in words.
        proved: what was worked out again, in words.
        trusted: what nothing shows, in words.
        again: whether the accountant was asked, so that epsilon itself is not on trust.
    """

    asked: Privacy
    verdict: Verdict
    epsilon: float | None
    reason: str
    card: str
    facts: str
    proved: tuple[str, ...]
    trusted: tuple[str, ...]
    again: bool

    @property
    def qualifier(self) -> str:
        """The words a proof must carry: no model shows how it was trained."""
        taken = "the training log" if self.again else "the training log and the card's epsilon"
        return f", assuming {taken} (not proved)"

    @property
    def label(self) -> str:
        """The verdict as it must be shown."""
        word: str = self.verdict.value
        return word + (self.qualifier if self.verdict is Verdict.PROVED else "")


@dataclass(frozen=True, slots=True)
class CrossChecked:
    """What `--cross-check` compared.

    Args:
        asked: how many images were asked for.
        images: the images looked at.
        comparisons: every comparison made.
        reproducers: a file for each that disagrees.
        complete: False when it was interrupted.
    """

    asked: int
    images: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    reproducers: tuple[str, ...] = ()
    complete: bool = True

    @property
    def disagreements(self) -> tuple[Comparison, ...]:
        """The comparisons that contradict a bound."""
        return tuple(c for c in self.comparisons if c.agreed is False)


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of an image.

    Args:
        title: two or three words.
        png: the file.
        legend: what the colours mean; empty where they mean themselves.
        key: what single colours stand for, each a name and its colour as #rrggbb.
        large: the name of a larger file of the same picture, beside the report; empty for none.
    """

    title: str
    png: bytes = field(repr=False)
    legend: str
    key: tuple[tuple[str, str], ...] = ()
    large: str = ""


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of one image.

    Args:
        image: its name.
        panels: in the order they are shown.
        words: what is decided of an image as a whole; empty where it is decided pixel by pixel.
    """

    image: str
    panels: tuple[Panel, ...]
    words: str = ""


@dataclass(slots=True)
class Times:
    """Seconds spent, by kind of work."""

    load: float = 0.0
    prove: float = 0.0
    forward: float = 0.0
    bound: float = 0.0
    attack: float = 0.0
    reasons: float = 0.0
    total: float = 0.0
    cross_check: float = 0.0


@dataclass(frozen=True, slots=True)
class CheckReport:
    """A finished (or interrupted) check.

    Args:
        program: the compiled specification.
        properties: results in the order of the specification.
        claims: what became of the Lipschitz constant the specification declares.
        images: how many images the data set has.
        evaluated: how many were evaluated; fewer when interrupted.
        backend: the kernel backend that computed the bounds.
        forward: the dtype the model ran in.
        device: where it ran, "cpu" or "cuda:N".
        arithmetic: what verdicts are about, "exact" logits as computed, "real" or "deployed" ones.
        hashes: SHA-256 of the specification, the model file and the data.
        versions: of robspec and what it stands on.
        times: where the time went.
        attack_steps: gradients per image, budget, method and start of the search for counterexamples, 0 for none.
        attack_methods: which methods it used.
        attack_searches: how many searches it finished: images, one counted for each property and swept point.
        attack_stopped: whether it was interrupted.
        notes: lines that qualify every verdict, such as the arithmetic the forward pass is taken to be exact in.
        remarks: what a reader should know beside the verdicts, in the order of the report.
        cross_check: what an independent computation said, or None when none was asked for.
        allow_unknown: whether UNKNOWN counts as success for the command that was called.
        accepted: requirements that are not proved and were so before: the property's name, and where its requirement
            stands among `PropertyResult.requirements`; a claim has the name "" and its place among the claims,
            privacy the same and the place behind them.
        weaker: whether something that is proved says less than it did before: of a baseline, that is worse.
        pictures: of the worst images, where they were asked for.
        privacy: what became of the privacy that is asked of the training, or None where none is.
    """

    program: Program
    properties: tuple[PropertyResult, ...]
    claims: tuple[ClaimResult, ...]
    images: int
    evaluated: int
    backend: str
    forward: str
    hashes: dict[str, str]
    versions: dict[str, str]
    times: Times
    notes: tuple[str, ...] = ()
    remarks: tuple[Note, ...] = ()
    attack_steps: int = 0
    attack_methods: tuple[str, ...] = ()
    attack_searches: int = 0
    attack_stopped: bool = False
    files: dict[str, str] = field(default_factory=dict)
    cross_check: CrossChecked | None = None
    allow_unknown: bool = False
    accepted: frozenset[tuple[str, int]] = frozenset()
    weaker: bool = False
    arithmetic: str = "exact"
    device: str = "cpu"
    pictures: tuple[Pictures, ...] = ()
    privacy: PrivacyResult | None = None

    @property
    def proved(self) -> bool:
        """Whether every property, a declared constant and privacy are proved on every image; also on assumptions."""
        return self.exit_status() == 0

    def rows(self) -> list[dict[str, Any]]:
        """List values image by image, as floats: property, image, point of a sweep, clean, certified, attained."""
        return frames.rows(self)

    def frame(self) -> Any:
        """The rows as a pandas DataFrame.

        Raises:
            MissingExtra: E0870, pandas is not installed.
        """
        return frames.frame(self)

    def _repr_html_(self) -> str:
        """Show verdicts as a table in a notebook."""
        return frames.page(self)

    @property
    def complete(self) -> bool:
        """Whether every image was evaluated, and no attack interrupted."""
        return self.evaluated == self.images and not self.attack_stopped

    def exit_status(self, *, allow_unknown: bool = False) -> int:
        """Map the verdicts to the exit status of `robspec check`.

        Args:
            allow_unknown: whether UNKNOWN counts as success.

        Returns:
            4 when a cross-check disagrees, 130 when interrupted, 1 when anything is refuted, 3 when anything is
            unknown, weaker than before, or only some images were looked at, else 0; what is accepted does not count.
        """
        if self.cross_check is not None and self.cross_check.disagreements:
            return 4
        if not self.complete or (self.cross_check is not None and not self.cross_check.complete):
            return 130
        verdicts = {c.verdict for k, c in enumerate(self.claims) if ("", k) not in self.accepted}
        if self.privacy is not None and ("", len(self.claims)) not in self.accepted:
            verdicts.add(self.privacy.verdict)
        for prop in self.properties:
            found = enumerate(prop.requirements)
            verdicts |= {r.verdict for k, r in found if (prop.source.name, k) not in self.accepted}
            if prop.part or not prop.requirements:
                verdicts.add(Verdict.UNKNOWN)
        if Verdict.REFUTED in verdicts:
            return 1
        if (Verdict.UNKNOWN in verdicts or self.weaker) and not allow_unknown:
            return 3
        return 0
