"""The queries a specification compiles to; immutable, comparable, free of syntax."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TypeAlias

from robspec.ir.plans import (
    Accuracy,
    Formula,
    Objects,
    OverClasses,
    OverCounts,
    Plan,
    PooledObjects,
    Precisions,
    Quotient,
    Stability,
    Sum,
    Weighted,
    unweighted,
)
from robspec.semantics.norm import Norm
from robspec.semantics.objective import Threshold
from robspec.semantics.relation import Relation
from robspec.semantics.smoothing import Smoothing
from robspec.tasks import Task, of

IR_VERSION = 7


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric with its arguments resolved; every formula is in the metric's own sense.

    Args:
        name: the registered (or user) metric's name; for a part of a user's sum, its formula.
        plan: how its worst case is found, with all that takes.
        arguments: further numbers, such as the beta of f_beta.
        lower_is_better: the metric's polarity.
        text: its formula as printed by the compiler, arguments put in; words where it is none over counts.
        low: a proved lower end of its values, or None.
        high: a proved upper end of its values, or None.
        region: label classes whose annotated pixels alone count; empty for no restriction.
        region_mask: only the pixels in the data's region files count.
        asked: the classes a user's metric of several was asked of, in order, where `classes` does not say it.
    """

    name: str
    plan: Plan
    arguments: tuple[Fraction, ...] = ()
    lower_is_better: bool = False
    text: str = ""
    low: Fraction | None = None
    high: Fraction | None = None
    region: tuple[int, ...] = ()
    region_mask: bool = False
    asked: tuple[int, ...] = ()

    @property
    def classes(self) -> tuple[int, ...]:
        """Class indices: of a formula a set that counts as one merged class, of a mean those averaged over."""
        return self.plan.classes

    @property
    def formula(self) -> Formula:
        """Its formula over the counts of a class set.

        Raises:
            ValueError: it has none.
        """
        plan = unweighted(self.plan)
        if not isinstance(plan, OverCounts):
            raise ValueError(f"{self.name} has no formula over counts")
        return plan.formula

    @property
    def of_data_set(self) -> bool:
        """Whether it has one value for all images together, and none for each."""
        return self.plan.of_data_set

    @property
    def of_objects(self) -> bool:
        """Whether it counts the objects of a detector."""
        return isinstance(self.plan, Objects | PooledObjects | Precisions)

    @property
    def mislabelled(self) -> bool:
        """Whether it counts objects that a wrong detection covers."""
        return isinstance(self.plan, Objects | PooledObjects) and self.plan.mislabelled

    @property
    def weighted(self) -> bool:
        """Whether each pixel counts with its weight from the data's weight files."""
        return isinstance(self.plan, Weighted)

    @property
    def needs_masks(self) -> bool:
        """Whether it compares with an annotation, or looks at annotated classes."""
        return not isinstance(unweighted(self.plan), Stability) or bool(self.region)

    @property
    def rank(self) -> int:
        """Among how many of the largest logits an item's class must be to be right."""
        plan = unweighted(self.plan)
        return plan.rank if isinstance(plan, Accuracy) else 1

    @property
    def worst_when_undefined(self) -> bool:
        """Whether an attack can bring the denominator of its formula to 0, which counts as the worst value."""
        plan = unweighted(self.plan)
        return isinstance(plan, OverCounts) and plan.formula.worst_when_undefined

    @property
    def worst(self) -> Fraction | None:
        """What it counts as where an attack has made it meaningless; None where no such value is proved."""
        return self.high if self.lower_is_better else self.low

    @property
    def parts(self) -> tuple[tuple[Fraction, Metric], ...]:
        """The weighted parts of a sum, each looking at the pixels the whole looks at; empty for all else."""
        if not isinstance(self.plan, Sum):
            return ()
        region, mask = self.region, self.region_mask
        return tuple((weight, replace(part, region=region, region_mask=mask)) for weight, part in self.plan.parts)

    def alone(self, classes: tuple[int, ...]) -> Metric:
        """Its formula for one class set, on one image."""
        return replace(self, plan=Quotient(self.formula, classes))

    def each(self, classes: int) -> tuple[Metric, ...]:
        """Its formula for every class set by itself: those averaged over, of so many classes, or its one set."""
        if not isinstance(self.plan, OverClasses):
            return (self.alone(self.classes),)
        return tuple(self.alone((k,)) for k in self.classes or range(classes))


@dataclass(frozen=True, slots=True)
class Degraded:
    """One downward-closed condition: metric <= threshold (`>=` for a metric where lower is better).

    Args:
        metric: the metric.
        threshold: in the metric's own sense.
        strict: True for `<` (or `>`).
    """

    metric: Metric
    threshold: Threshold
    strict: bool


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part is satisfied: the radius is the maximum of the parts' radii."""

    parts: tuple[Objective, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Some part is satisfied: the radius is the minimum of the parts' radii."""

    parts: tuple[Objective, ...]


Objective: TypeAlias = Degraded | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class WorstCaseQuery:
    """Q1: how bad can the metric get within each budget?

    Args:
        metric: the metric.
        norm: the attack's norm.
        budgets: exact, in units of the declared input; more than one for a sweep.
    """

    metric: Metric
    norm: Norm
    budgets: tuple[Fraction, ...]


@dataclass(frozen=True, slots=True)
class RadiusQuery:
    """Q2: how large must an attack be to satisfy the objective?

    Args:
        norm: the attack's norm.
        objectives: one objective; more than one for a sweep over gamma.
        points: the swept value of each objective, empty when there is no sweep.
    """

    norm: Norm
    objectives: tuple[Objective, ...]
    points: tuple[Fraction, ...] = ()


Query: TypeAlias = WorstCaseQuery | RadiusQuery


class Aggregate(enum.Enum):
    """How per-image values become one number; its value is its spelling. POOLED: there is only one value."""

    MEAN = "mean"
    MIN = "min"
    QUANTILE = "quantile"
    FRACTION = "fraction"
    POOLED = "pooled"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A claim on the aggregated per-image values.

    Args:
        aggregate: FRACTION covers `for all` (level 1) and `for p% of images` (level p); POOLED is for properties
            of pooled metrics, and for them only.
        relation: between the aggregated value and the bound; for FRACTION, between each image's value and it.
        bound: exact right-hand side, in the metric's own sense.
        level: the fraction of images for FRACTION, the quantile's order for QUANTILE; else None.
        confidence: the population confidence, or None for a claim about the data set itself.
        text: the requirement as the formatter prints it.
    """

    aggregate: Aggregate
    relation: Relation
    bound: Fraction
    level: Fraction | None = None
    confidence: Fraction | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Property:
    """A named property: one query and what is required of its answer.

    Args:
        name: unique.
        query: the question.
        requirements: all must hold.
        line: where it stands; 0 for nowhere.
        smoothing: how it is answered by smoothing; None where it is answered by a Lipschitz constant.
        data: which of several data sets it is about; empty for the program's `data`.
    """

    name: str
    query: Query
    requirements: tuple[Requirement, ...]
    line: int = 0
    smoothing: Smoothing | None = None
    data: str = ""


@dataclass(frozen=True, slots=True)
class Normalize:
    """Per-channel affine normalisation applied before the model file: (x - mean) / std."""

    mean: tuple[Fraction, ...]
    std: tuple[Fraction, ...]


@dataclass(frozen=True, slots=True)
class LipschitzClaim:
    """A declared constant, image to logits, normalisation included: proved or refuted, never trusted."""

    input_norm: Norm
    output_norm: Norm
    value: Fraction


@dataclass(frozen=True, slots=True)
class ClaimOfFile:
    """What is claimed of one model file alone.

    Args:
        file: its name, perhaps behind folders, or `sha256:` and the first digits of its digest.
        claim: the claim.
    """

    file: str
    claim: LipschitzClaim


@dataclass(frozen=True, slots=True)
class Detector:
    """What stands between the outputs of a model and its detections.

    Args:
        of: what is compared with the threshold: the "sigmoid" of the scores, or each "score" itself.
        threshold: a location fires for a class from it on.
        nms: overlap above which a kept box suppresses another of its class; None for no suppression.
        match: an object is found by "overlap" with a kept box, or by "location" where its own locations fire.
        overlap: the least overlap of a match; None for "location".
        least: of "location", how many of an object's own locations have to fire.
        boxes: what is known of boxes under attack: "free" for nothing, "frozen" where they are taken to stay, or
            "proved".
        strides: of the levels the locations come from; empty where nothing asks for centres.
        limit: detections kept per image, or None.
    """

    of: str
    threshold: Fraction
    nms: Fraction | None
    match: str
    overlap: Fraction | None
    least: int
    boxes: str
    strides: tuple[int, ...] = ()
    limit: int | None = None

    @property
    def assumption(self) -> str:
        """What a proof takes for granted of the boxes; empty for nothing."""
        return "frozen boxes" if self.boxes == "frozen" and self.match == "overlap" else ""


@dataclass(frozen=True, slots=True)
class Model:
    """What the specification says about the model.

    Args:
        input_shape: channels, height, width.
        low: smallest input value.
        high: largest input value.
        output_shape: classes (or 1 logit), height, width; classes (or 1 logit) alone where an image is judged as a
            whole.
        classes: class names in index order; the normal and the anomalous side where `sides`.
        normalize: applied by robspec before the model file, or None.
        claim: the declared Lipschitz constant of the model that is checked, or None.
        claims_of_files: what is declared of single files; of one that is checked it becomes `claim`.
        input_name: what the specification calls the input.
        output_name: what the specification calls the output.
        sides: whether the output is one score, and the classes are the two sides of its annotation.
        boxes_name: what the specification calls a second output, boxes of shape 4, locations; empty for none.
        detector: what stands between the outputs and the detections, or None.
    """

    input_shape: tuple[int, int, int]
    low: Fraction
    high: Fraction
    output_shape: tuple[int, ...]
    classes: tuple[str, ...]
    normalize: Normalize | None = None
    claim: LipschitzClaim | None = None
    input_name: str = "image"
    output_name: str = "logits"
    sides: bool = False
    boxes_name: str = ""
    detector: Detector | None = None
    claims_of_files: tuple[ClaimOfFile, ...] = ()

    @property
    def task(self) -> Task:
        """What the model is for."""
        found = of(len(self.output_shape), sides=self.sides)
        if found is None:
            raise ValueError(f"no task has outputs of shape {self.output_shape}")
        return found

    @property
    def plane(self) -> tuple[int, int, int]:
        """Channels and sides of the plane of items that is judged, 1 x 1 for a whole image."""
        return self.task.plane(self.output_shape)


@dataclass(frozen=True, slots=True)
class Mapped:
    """What some numbers, or one colour, in the masks stand for.

    Args:
        first: the smallest number, or the colour as 65536 red + 256 green + blue; None for all others.
        last: the largest number; the colour again; or None.
        target: a class index, or None for pixels that are left out of every metric.
    """

    first: int | None
    last: int | None
    target: int | None


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of the image as stored.

    Args:
        height: of the part, pixels.
        width: of the part, pixels.
        row: its first row; None for the middle.
        column: its first column; None for the middle.
    """

    height: int
    width: int
    row: int | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Resize:
    """The image resampled to another size, masks by the nearest pixel.

    Args:
        height: afterwards, pixels.
        width: afterwards, pixels.
        method: of images, "bilinear" or "nearest".
    """

    height: int
    width: int
    method: str


Step: TypeAlias = Crop | Resize

UNLABELLED = -1
"""The ignore label of masks whose numbers or colours are mapped: no class has it."""


@dataclass(frozen=True, slots=True)
class Data:
    """Where the images are, relative to the specification file.

    Args:
        name: the data set's name.
        images: glob of image files, or a pattern with named parts; empty with `pairs` or `layout`.
        masks: glob of mask files, paired by stem or by named parts; empty when only stability is asked.
        ignore: the label that is left out of every metric, or None.
        binary: masks hold 0 and 255 (or 0 and 1) for classes 0 and 1.
        region: glob of region files, 0 for pixels left out, paired by stem; empty when no metric asks for them.
        weights: glob of files of per-pixel weights, paired by stem; empty when no metric asks for them.
        labels: the CSV file of the images' labels; empty for none.
        by_folder: an image's label is the name of its folder.
        pairs: the CSV file that names images and masks; empty for none.
        layout: the published data set that lies under `root`; empty for none.
        root: its folder.
        split: the part of it that is meant; empty where it has none.
        also_ignored: further labels of masks that count as `ignore`.
        mapping: what the numbers in masks stand for, in order; empty for class indices, or what the layout says.
        colours: whether `mapping` is of colours.
        steps: what is done to images and masks once they are read, in order.
        objects: the file of all objects, or a glob of one file an image; empty for none.
        objects_format: "coco", "yolo" or "voc"; empty for none.
    """

    name: str
    images: str
    masks: str = ""
    ignore: int | None = None
    binary: bool = False
    region: str = ""
    weights: str = ""
    labels: str = ""
    by_folder: bool = False
    pairs: str = ""
    layout: str = ""
    root: str = ""
    split: str = ""
    also_ignored: tuple[int, ...] = ()
    mapping: tuple[Mapped, ...] = ()
    colours: bool = False
    steps: tuple[Step, ...] = ()
    objects: str = ""
    objects_format: str = ""

    @property
    def masked(self) -> bool:
        """Whether it says what is right pixel by pixel."""
        return bool(self.masks or self.pairs or self.layout)

    @property
    def annotated(self) -> bool:
        """Whether it says what is right, pixel by pixel or image by image."""
        return self.masked or bool(self.labels or self.objects) or self.by_folder


@dataclass(frozen=True, slots=True)
class Privacy:
    """`epsilon <= 8 at delta 1e-5`, for adding or removing one sample of the training data.

    Args:
        epsilon: what it may be at most, > 0.
        delta: in (0, 1).
        text: the requirement as it is written.
        line: of the statement, 0 where it was built.
    """

    epsilon: Fraction
    delta: Fraction
    text: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled specification.

    Args:
        language: its version.
        model: what the model is like.
        data: the images that properties are about which do not say.
        properties: what is asked, in order.
        params: every parameter with its value.
        others: further data sets that single properties are about.
        left_out: names of properties that are about other data sets than was asked for.
        privacy: what is asked of how the model was trained, or None.
    """

    language: int
    model: Model
    data: Data
    properties: tuple[Property, ...]
    params: tuple[tuple[str, Fraction], ...] = field(default=())
    others: tuple[Data, ...] = ()
    left_out: tuple[str, ...] = ()
    privacy: Privacy | None = None

    @property
    def by_data(self) -> tuple[Program, ...]:
        """One program for each data set, of the properties that are about it."""
        if not self.others:
            return (self,)
        first = self.data.name
        return tuple(
            replace(
                self,
                data=data,
                others=(),
                properties=tuple(replace(p, data="") for p in self.properties if (p.data or first) == data.name),
            )
            for data in (self.data, *self.others)
        )

    def alone(self, prop: Property) -> Program:
        """The program of one of its properties, and of the data set that is about."""
        found = next(d for d in (self.data, *self.others) if prop.data in ("", d.name))
        return replace(self, data=found, others=(), properties=(replace(prop, data=""),))
