"""The abstract syntax tree: immutable, typed, every node with its span, equal to another modulo spans."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, TypeAlias

from robspec.diagnostics.span import NOWHERE, Source, Span

RelationSign: TypeAlias = Literal["<=", "<", ">=", ">"]
Comparator: TypeAlias = Literal["<=", "<", ">=", ">", "==", "!="]
Quantity: TypeAlias = Literal["worst_case", "radius"]


@dataclass(frozen=True, kw_only=True)
class Node:
    """Anything that was written somewhere; the span takes no part in equality."""

    span: Span = field(default=NOWHERE, compare=False, repr=False)


# arithmetic


@dataclass(frozen=True)
class Number(Node):
    """A decimal literal: its exact value, and the spelling the formatter keeps."""

    value: Fraction
    text: str = field(compare=False)


@dataclass(frozen=True)
class Name(Node):
    """A parameter, `h`, `h0`, or a metric without arguments."""

    id: str


@dataclass(frozen=True)
class ClassName(Node):
    """The name of a class, unquoted."""

    text: str


@dataclass(frozen=True)
class Within(Node):
    """`in [road, sidewalk]`: the pixels annotated with some classes; or, without classes, `in region`."""

    classes: tuple[ClassName, ...] = ()


@dataclass(frozen=True)
class MetricReference(Node):
    """A metric with its numbers and its classes, as in `f_beta(2)[runway]`, and which pixels count how much.

    In a formula also a count of pixels, `TP[k]`. The last number may be a range up to another, as in
    `mean_average_precision(0.5 to 0.95)`.
    """

    name: Name
    arguments: tuple[Expr, ...] = ()
    classes: tuple[ClassName, ...] = ()
    adjective: Literal["pooled", "weighted"] | None = None
    within: Within | None = None
    through: Expr | None = None


@dataclass(frozen=True)
class Clean(Node):
    """`clean(metric)`: the value of a metric on the unperturbed image."""

    metric: MetricReference


@dataclass(frozen=True)
class Negative(Node):
    """`-operand`."""

    operand: Expr


@dataclass(frozen=True)
class Sum(Node):
    """`first (+|-) term (+|-) term ...`, at least one further term."""

    first: Expr
    rest: tuple[tuple[Literal["+", "-"], Expr], ...]


@dataclass(frozen=True)
class Product(Node):
    """`first (*|/) factor (*|/) factor ...`, at least one further factor."""

    first: Expr
    rest: tuple[tuple[Literal["*", "/"], Expr], ...]


Expr: TypeAlias = Number | Name | MetricReference | Clean | Negative | Sum | Product


@dataclass(frozen=True)
class Sweep(Node):
    """`start to stop points n`, both ends included."""

    start: Expr
    stop: Expr
    points: Expr


@dataclass(frozen=True)
class Level(Node):
    """A share: `95%` or `0.95`."""

    value: Expr
    percent: bool


@dataclass(frozen=True)
class NormName(Node):
    """`l1`, `l2`, `linf`, or `l(1.5)`."""

    name: str
    exponent: Expr | None = None


# file level


@dataclass(frozen=True)
class Language(Node):
    """`language 1`."""

    version: Number


@dataclass(frozen=True)
class Param(Node):
    """`param name = value`."""

    name: Name
    value: Expr


@dataclass(frozen=True)
class Definition(Node):
    """`metric name(k, ...) [lower_is_better] = formula`."""

    name: Name
    parameters: tuple[Name, ...]
    lower_is_better: bool
    formula: Expr


# model


@dataclass(frozen=True)
class Input(Node):
    """`input name [C, H, W] in [low, high]`."""

    name: Name
    shape: tuple[Expr, ...]
    range: tuple[Expr, ...]


@dataclass(frozen=True)
class BoxesOutput(Node):
    """The second output of a detector, `boxes [4, N]`."""

    name: Name
    shape: tuple[Expr, ...]


@dataclass(frozen=True)
class Output(Node):
    """`output name [K, H, W]`, or of a detector `output scores [K, N], boxes [4, N]`."""

    name: Name
    shape: tuple[Expr, ...]
    boxes: BoxesOutput | None = None


@dataclass(frozen=True)
class Classes(Node):
    """`classes a, b, ...` in index order."""

    names: tuple[ClassName, ...]


@dataclass(frozen=True)
class Annotation(Node):
    """`annotation normal | anomalous`: what a low and what a high score stand for."""

    normal: ClassName
    anomalous: ClassName


@dataclass(frozen=True)
class Normalize(Node):
    """`normalize mean [...] std [...]`."""

    mean: tuple[Expr, ...]
    std: tuple[Expr, ...]


@dataclass(frozen=True)
class Lipschitz(Node):
    """`lipschitz p <= c` or `lipschitz p -> q <= c`."""

    input_norm: NormName
    output_norm: NormName | None
    value: Expr


ModelStatement: TypeAlias = Input | Output | Classes | Annotation | Normalize | Lipschitz


@dataclass(frozen=True)
class ModelName(Node):
    """Which model file a block is about: its name, or `sha256:` and the first digits of its digest."""

    text: str


@dataclass(frozen=True)
class Model(Node):
    """`model { ... }`; with a name, `model "strict.pt2" { ... }`, what is claimed of that file alone."""

    statements: tuple[ModelStatement, ...]
    file: ModelName | None = None


# detector


@dataclass(frozen=True)
class Threshold(Node):
    """`threshold sigmoid 0.3`, or `threshold score 1.5`: what a location's score must reach."""

    of: Literal["sigmoid", "score"]
    value: Expr


@dataclass(frozen=True)
class Nms(Node):
    """`nms greedy 0.6`, or `nms none`."""

    name: Name
    value: Expr | None = None


@dataclass(frozen=True)
class Match(Node):
    """`match overlap 0.5`, or `match location`, or `match location 3`."""

    name: Name
    value: Expr | None = None


@dataclass(frozen=True)
class BoxesStatement(Node):
    """`boxes free`, `boxes frozen` or `boxes proved`."""

    name: Name


@dataclass(frozen=True)
class Strides(Node):
    """`strides 8, 16, 32`."""

    values: tuple[Expr, ...]


@dataclass(frozen=True)
class Limit(Node):
    """`limit 100`: detections kept per image."""

    value: Expr


DetectorStatement: TypeAlias = Threshold | Nms | Match | BoxesStatement | Strides | Limit


@dataclass(frozen=True)
class Detector(Node):
    """`detector { ... }`: what stands between the outputs and the detections."""

    statements: tuple[DetectorStatement, ...]


# privacy


@dataclass(frozen=True)
class Epsilon(Node):
    """`epsilon <= 8 at delta 1e-5`: what was promised to everyone whose data the model was trained on."""

    value: Expr
    delta: Expr


@dataclass(frozen=True)
class Privacy(Node):
    """`privacy { ... }`: what is asked of how the model was trained."""

    statements: tuple[Epsilon, ...]


# data


@dataclass(frozen=True)
class Images(Node):
    """`images "glob"`."""

    glob: str


@dataclass(frozen=True)
class Masks(Node):
    """`masks "glob"`, with `binary` for masks that hold 0 and 255 (or 0 and 1)."""

    glob: str
    binary: bool = False


@dataclass(frozen=True)
class Labels(Node):
    """`labels "file.csv"`, or, with None for a file, `labels by folder`."""

    glob: str | None


@dataclass(frozen=True)
class ObjectsStatement(Node):
    """`objects coco "annotations.json"`, and the like for `yolo` and `voc`."""

    name: Name
    glob: str


@dataclass(frozen=True)
class Pairs(Node):
    """`pairs "file.csv"`, a table of the columns image and mask, with `binary` as for masks."""

    glob: str
    binary: bool = False


@dataclass(frozen=True)
class Layout(Node):
    """`layout name "folder" split name`: a published data set as it lies on disk."""

    name: Name
    root: str
    split: Name | None = None


@dataclass(frozen=True)
class Ignore(Node):
    """`ignore label, ...`."""

    labels: tuple[Expr, ...]


@dataclass(frozen=True)
class Stored(Node):
    """The numbers of pixels, `7` or `0..6`, both ends included."""

    first: Expr
    last: Expr | None = None


@dataclass(frozen=True)
class Colour(Node):
    """The colour of pixels, `#804080`: red, green and blue in one number."""

    value: int


@dataclass(frozen=True)
class Others(Node):
    """`others`: all that no other part of a `map` names."""


@dataclass(frozen=True)
class Mapping(Node):
    """One part of a `map`; without a class, `to ignored`."""

    source: Stored | Colour | Others
    target: ClassName | None


@dataclass(frozen=True)
class Map(Node):
    """`map 7 to road, 0..6 to ignored, others to ignored`."""

    parts: tuple[Mapping, ...]


@dataclass(frozen=True)
class Crop(Node):
    """`crop [height, width] at [row, column]`; in the middle where the place is left out."""

    size: tuple[Expr, ...]
    at: tuple[Expr, ...] | None = None


@dataclass(frozen=True)
class Resize(Node):
    """`resize [height, width] by method`."""

    size: tuple[Expr, ...]
    method: Name


@dataclass(frozen=True)
class Region(Node):
    """`region "glob"`: files of the pixels that a metric `in region` counts."""

    glob: str


@dataclass(frozen=True)
class Weights(Node):
    """`weights "glob"`: files of the weights of the pixels for a `weighted` metric."""

    glob: str


DataStatement: TypeAlias = (
    Images | Masks | Pairs | Layout | Labels | ObjectsStatement | Ignore | Map | Region | Weights | Crop | Resize
)


@dataclass(frozen=True)
class Data(Node):
    """`data name { ... }`; `ready` for `data layout "folder" split name`, whose only statement is the layout."""

    name: Name
    statements: tuple[DataStatement, ...]
    ready: bool = False


@dataclass(frozen=True)
class Use(Node):
    """`use name`: which of several data blocks the properties are about; in a property, which one it is about."""

    name: Name


# property


@dataclass(frozen=True)
class MetricStatement(Node):
    """`metric reference`."""

    metric: MetricReference


@dataclass(frozen=True)
class NormStatement(Node):
    """`norm l2`."""

    norm: NormName


@dataclass(frozen=True)
class AttackStatement(Node):
    """`attack anomalous`, or `attack both`."""

    side: ClassName


@dataclass(frozen=True)
class Budget(Node):
    """`budget value` or `budget start to stop points n`."""

    value: Expr | Sweep


@dataclass(frozen=True)
class Setting(Node):
    """`sigma 0.25`."""

    name: Name
    value: Expr


@dataclass(frozen=True)
class By(Node):
    """`by smoothing { sigma 0.25 ... }`: how a property is answered."""

    method: Name
    settings: tuple[Setting, ...] = ()


@dataclass(frozen=True)
class Comparison(Node):
    """One comparison of a condition; the right side may be swept."""

    left: Expr
    relation: Comparator
    right: Expr | Sweep


@dataclass(frozen=True)
class AllOf(Node):
    """`a and b and ...`, at least two parts."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class AnyOf(Node):
    """`a or b or ...`, at least two parts."""

    parts: tuple[Condition, ...]


Condition: TypeAlias = Comparison | AllOf | AnyOf


@dataclass(frozen=True)
class Degraded(Node):
    """`degraded when condition`."""

    condition: Condition


@dataclass(frozen=True)
class Measure(Node):
    """What is required: a per-image quantity, or one number made of all of them.

    Args:
        quantity: `worst_case` or `radius`.
        aggregate: `mean`, `min`, `quantile`, or None for the quantity itself.
        order: the quantile's order.
    """

    quantity: Quantity
    aggregate: Literal["mean", "min", "quantile"] | None = None
    order: Expr | None = None


@dataclass(frozen=True)
class AllImages(Node):
    """`for all images`."""


@dataclass(frozen=True)
class ShareOfImages(Node):
    """`for 95% of images`."""

    level: Level


@dataclass(frozen=True)
class Require(Node):
    """`require measure >= bound for ... with confidence ...`."""

    measure: Measure
    relation: RelationSign
    bound: Expr
    population: AllImages | ShareOfImages | None = None
    confidence: Level | None = None


PropertyStatement: TypeAlias = (
    MetricStatement | NormStatement | AttackStatement | Budget | Degraded | By | Require | Use
)


@dataclass(frozen=True)
class Property(Node):
    """`property name { ... }`."""

    name: Name
    statements: tuple[PropertyStatement, ...]


Statement: TypeAlias = Language | Param | Definition | Model | Detector | Privacy | Data | Use | Property
Block: TypeAlias = Model | Detector | Privacy | Data | Property


@dataclass(frozen=True)
class Comment:
    """A comment with its `#`, without trailing blanks."""

    text: str
    span: Span = NOWHERE


@dataclass(frozen=True)
class File(Node):
    """A whole specification.

    Args:
        statements: in the order written.
        comments: in the order written; they take no part in equality.
        source: the text it was parsed from, or None for a tree that was built.
        damage: offsets of the syntax errors that were skipped.
    """

    statements: tuple[Statement, ...]
    comments: tuple[Comment, ...] = field(default=(), compare=False, repr=False)
    source: Source | None = field(default=None, compare=False, repr=False)
    damage: tuple[int, ...] = field(default=(), compare=False, repr=False)
