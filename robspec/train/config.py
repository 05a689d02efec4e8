"""The training configuration: one TOML file, read without running anything."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from robspec.diagnostics.suggest import did_you_mean
from robspec.train.errors import ConfigKey, ConfigUnreadable, ConfigValue
from robspec.train.tables import read_table, rule

_MOST = 1 << 20
SCORING = ("mlp", "convnet")
"""The architectures that give one score per image."""
ONE_CLASS = "one_class_hkr"
"""The loss that learns a class from its samples alone."""
DETECTING = "fcos"
"""The architecture that gives scores and boxes."""
MASKED = ("fcn", "unet", "deeplabv3")
"""The architectures that give logits for each pixel, and only those."""
PRIVATE = "patches"
"""The architecture whose gradients have bounds, so that it can be trained privately; also the one of classifiers."""
BY_FOLDER = "by folder"
"""In place of a table: an image's label is the name of its folder."""
OBJECT_LOSSES = ("focal", "tau-bce", "hkr")
"""The losses of scores at locations."""


@dataclass(frozen=True, slots=True)
class Run:
    """How long, how fast, and from which seed."""

    epochs: int = rule("integer", low=1, high=100_000)
    batch: int = rule("integer", 8, low=1, high=4096)
    seed: int = rule("integer", 0, low=0, high=2**31)
    threads: int = rule("integer", 2, low=1, high=256)
    precision: str = rule("text", "float32", choices=("float32", "bfloat16"))
    checkpoint_steps: int = rule("integer", 200, low=1, high=10**9)


@dataclass(frozen=True, slots=True)
class Network:
    """The architecture, Lipschitz by design or its unconstrained twin."""

    architecture: str = rule("text", choices=(*MASKED, PRIVATE, *SCORING, DETECTING))
    lipschitz: bool = rule("boolean", True)
    size: str = rule("text", "", choices=("", "S", "M1", "M2", "L", "XL"))
    channels: tuple[int, ...] = rule("integer", (), many=True, low=2, high=4096)
    depths: tuple[int, ...] = rule("integer", (), many=True, low=0, high=64)
    activation: str = rule("text", "maxmin")
    rms_scaling: bool = rule("boolean", False)
    single_logit: bool = rule("boolean", False)
    tail: str = rule("text", "", choices=("", "bilinear 4", "bilinear 8", "bilinear 16"))
    mean: tuple[float, ...] = rule("number", (0.5, 0.5, 0.5), many=True, low=-1e6, high=1e6)
    std: tuple[float, ...] = rule("number", (1.0, 1.0, 1.0), many=True, low=0, above=True, high=1e6)


@dataclass(frozen=True, slots=True)
class Source:
    """Images and masks: folders, or scenes drawn from consecutive seeds; of one class, images alone; COCO's objects;
    or a label for each image, the name of its folder or in a table.

    Values are in [0, 1].
    """

    input: tuple[int, ...] = rule("integer", many=True, length=3, low=1, high=16384)
    classes: tuple[str, ...] = rule("text", (), many=True)
    train_images: str = rule("text", "")
    train_masks: str = rule("text", "")
    train_objects: str = rule("text", "")
    train_labels: str = rule("text", "")
    val_images: str = rule("text", "")
    val_masks: str = rule("text", "")
    val_objects: str = rule("text", "")
    val_labels: str = rule("text", "")
    val_anomalous: str = rule("text", "")
    ignore: int = rule("integer", -1, low=-1, high=65535)
    binary: bool = rule("boolean", False)
    train_scenes: int = rule("integer", 0, low=0, high=10**6)
    train_seed: int = rule("integer", 1_000_000, low=0, high=2**40)
    val_scenes: int = rule("integer", 0, low=0, high=10**5)
    val_seed: int = rule("integer", 2_000_000, low=0, high=2**40)


@dataclass(frozen=True, slots=True)
class Objective:
    """The loss; what each key means stands with the losses."""

    kind: str = rule("text", "tau-cce", choices=("tau-cce", "cosine", *OBJECT_LOSSES, ONE_CLASS))
    tau: float = rule("number", 10.0, low=0, above=True, high=1e6)
    margin: float = rule("number", 0.0, low=0, high=1e6)
    alpha: float = rule("number", 0.9, low=0, high=1)
    newton_steps: int = rule("integer", 4, low=0, high=64)
    gamma: float = rule("number", 2.0, low=0, high=10)
    boxes: float = rule("number", 1.0, low=0, high=1000)


@dataclass(frozen=True, slots=True)
class Detections:
    """What becomes of the scores of a detector, as in a specification."""

    threshold: Fraction = rule("exact", Fraction(1, 2), low=0, above=True, high=0.999)
    nms: Fraction = rule("exact", Fraction(3, 5), low=0, above=True, high=1)
    overlap: Fraction = rule("exact", Fraction(1, 2), low=0, above=True, high=1)
    boxes: str = rule("text", "frozen", choices=("frozen", "proved"))


@dataclass(frozen=True, slots=True)
class Optimizer:
    """AdamW and its schedule."""

    rate: float = rule("number", 1e-3, low=0, above=True, high=100)
    weight_decay: float = rule("number", 0.0, low=0, high=10)
    schedule: str = rule("text", "one-cycle", choices=("one-cycle", "cosine", "constant"))
    warmup: float = rule("number", 0.1, low=0, high=1)


@dataclass(frozen=True, slots=True)
class Augment:
    """Random changes of the training images; geometric ones move the masks along."""

    flip: bool = rule("boolean", False)
    scale: tuple[float, ...] = rule("number", (1.0, 1.0), many=True, length=2, low=0.1, high=10)
    crop: tuple[int, ...] = rule("integer", (), many=True, low=1, high=16384)
    brightness: float = rule("number", 0.0, low=0, high=1)
    contrast: float = rule("number", 0.0, low=0, high=0.9)


@dataclass(frozen=True, slots=True)
class Validation:
    """What is certified on the validation set; the first metric is watched every epoch.

    Without metrics it is the pixel accuracy, the area under the ROC curve of one class, or the recall of a detector.
    """

    budgets: tuple[Fraction, ...] = rule("exact", (Fraction(1, 4),), many=True, low=0, high=10**6)
    metrics: tuple[str, ...] = rule("text", (), many=True)
    every: int = rule("integer", 1, low=1, high=100_000)


@dataclass(frozen=True, slots=True)
class Privacy:
    """What the training may tell of one image: a target, or a noise multiplier; neither for an ordinary run."""

    epsilon: float = rule("number", 0.0, low=0, high=1000)
    delta: float = rule("number", 1e-5, low=0, above=True, high=0.1)
    noise: float = rule("number", 0.0, low=0, high=1e4)
    norm_bound: float = rule("number", 1.0, low=0, above=True, high=1e6)
    bias_bound: float = rule("number", 0.0, low=0, high=1e3)
    accounting: str = rule("text", "layers", choices=("layers", "global"))


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration; each field is a section of the file.

    Args:
        path: the file, whose folder the data's globs are relative to.
        sha256: of its bytes.
    """

    run: Run
    model: Network
    data: Source
    loss: Objective
    detector: Detections
    optimizer: Optimizer
    augment: Augment
    validation: Validation
    privacy: Privacy
    path: Path
    sha256: str

    @property
    def outputs(self) -> int:
        """Logits per pixel."""
        return 1 if self.model.single_logit else len(self.data.classes)

    @property
    def tail(self) -> int:
        """The factor of the fixed up-sampling that ends the network, 1 for none."""
        return int(self.model.tail.removeprefix("bilinear ") or 1)

    @property
    def private(self) -> bool:
        """Whether noise hides each image."""
        return self.privacy.epsilon > 0 or self.privacy.noise > 0

    @property
    def one_class(self) -> bool:
        """Whether a score is learned from one class, rather than logits from masks."""
        return self.loss.kind == ONE_CLASS

    @property
    def classification(self) -> bool:
        """Whether each image has one label."""
        return bool(self.data.train_labels or self.data.val_labels)

    @property
    def annotation(self) -> str:
        """What belongs to each image."""
        return "label" if self.classification else "mask"

    @property
    def detection(self) -> bool:
        """Whether objects are to be found."""
        return self.model.architecture == DETECTING


_SECTIONS = {
    "run": Run,
    "model": Network,
    "data": Source,
    "loss": Objective,
    "detector": Detections,
    "optimizer": Optimizer,
    "augment": Augment,
    "validation": Validation,
    "privacy": Privacy,
}
_NEEDED = ("run", "model", "data")
_GONE = {"privacy": {"rounding": "leave it out: the rounding of private steps is always proved"}}
"""Keys that earlier versions took, and the mend."""


def read_config(path: Path) -> Config:
    """Read and check a configuration.

    Args:
        path: a TOML file.

    Returns:
        The configuration.

    Raises:
        ConfigUnreadable: E0701.
        ConfigKey: E0702.
        ConfigValue: E0703.
    """
    where = str(path)
    blob = _read(path)
    try:
        tables = tomllib.loads(blob.decode("utf-8"), parse_float=Decimal)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, ArithmeticError) as error:
        raise ConfigUnreadable(where, f"it is not TOML: {str(error)[:200]}", "correct it there") from error
    except ValueError as error:  # an integer of thousands of digits
        raise ConfigUnreadable(
            where, f"it holds a number that is too long: {str(error)[:80]}", "shorten it"
        ) from error
    for key in tables:
        if key not in _SECTIONS:
            raise ConfigKey(
                where,
                f"there is no section [{key[:60]}]",
                did_you_mean(key, _SECTIONS, f"the sections are {', '.join(_SECTIONS)}"),
            )
    for name in _NEEDED:
        if name not in tables:
            raise ConfigKey(where, f"the section [{name}] is missing", "add it")
    found: dict[str, Any] = {
        name: read_table(cls, tables.get(name, {}), name, where, _GONE.get(name)) for name, cls in _SECTIONS.items()
    }
    if "metrics" not in tables.get("validation", {}):
        metric = "recall" if found["model"].architecture == DETECTING else "pixel_accuracy"
        metric = "accuracy" if found["data"].train_labels else metric
        metric = "auroc" if found["loss"].kind == ONE_CLASS else metric
        found["validation"] = replace(found["validation"], metrics=(metric,))
    config = Config(path=path, sha256=hashlib.sha256(blob).hexdigest(), **found)
    _check(config, where)
    if "privacy" in tables:
        _check_privacy(config, where)
    return config


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            blob = file.read(_MOST + 1)
    except OSError as error:
        raise ConfigUnreadable(
            str(path), f"it cannot be opened: {error.strerror or error}", "check the path"
        ) from error
    if len(blob) > _MOST:
        raise ConfigUnreadable(str(path), "it is larger than 1 MiB", "give a configuration")
    return blob


def _check(config: Config, where: str) -> None:
    """Refuse values that contradict each other."""
    model, data, augment = config.model, config.data, config.augment

    def refuse(what: str, mend: str) -> None:
        raise ConfigValue(where, what, mend)

    if len(model.mean) != data.input[0] or len(model.std) != data.input[0]:
        refuse(f"`model.mean` or `model.std` has no entry per channel of {data.input[0]}", "give one per channel")
    if model.tail and model.architecture not in ("fcn", "deeplabv3"):
        refuse(f"`model.tail` with architecture {model.architecture}", "leave it out, or choose fcn or deeplabv3")
    if model.size and (model.architecture != "deeplabv3" or model.channels or model.depths):
        refuse("`model.size` names a table of deeplabv3", "give either size or channels and depths")
    if len(model.channels) != len(model.depths):
        refuse("`model.channels` and `model.depths` differ in length", "give one depth per entry of channels")
    if augment.crop and (
        len(augment.crop) != 2 or any(c > s for c, s in zip(augment.crop, data.input[1:], strict=True))
    ):
        refuse(f"`augment.crop` {list(augment.crop)} does not fit into the image", "give height and width within it")
    if augment.scale[0] > augment.scale[1]:
        refuse("`augment.scale` runs backwards", "write the smaller factor first")
    if not config.validation.budgets or not config.validation.metrics:
        refuse("`validation` names no budget or no metric", "give one of each")
    if config.one_class:
        _check_one_class(config, where)
    elif config.detection:
        _check_objects(config, where)
    elif config.classification:
        _check_labels(config, where)
    else:
        _check_pixels(config, where)
        _check_source(data, where)


def _check_privacy(config: Config, where: str) -> None:
    """Refuse what the bounds of gradients do not cover."""
    how, plain = config.privacy, Augment()

    def refuse(what: str, mend: str) -> None:
        raise ConfigValue(where, f"{what} with [privacy]", mend)

    if (how.epsilon > 0) == (how.noise > 0):
        refuse("both or neither of `privacy.epsilon` and `privacy.noise`", "give one of them")
    if config.model.architecture != PRIVATE or not config.model.lipschitz or config.model.single_logit:
        refuse(f"`model.architecture` {config.model.architecture}, or an option of it,", f'write "{PRIVATE}" alone')
    if config.loss.kind != "tau-cce":
        refuse(f"`loss.kind` {config.loss.kind}", 'write "tau-cce"')
    if config.augment != plain:
        refuse("[augment]", "leave it out")
    if config.run.precision != "float32":
        refuse(f"`run.precision` {config.run.precision}", "leave it out")


def _check_one_class(config: Config, where: str) -> None:
    """Refuse what does not fit one score per image, learned from images of one class."""
    model, data = config.model, config.data

    def refuse(what: str, mend: str) -> None:
        raise ConfigValue(where, f'{what} with kind = "{ONE_CLASS}"', mend)

    if model.architecture not in SCORING:
        refuse(f"`model.architecture` {model.architecture}", f"choose {' or '.join(SCORING)}")
    if model.single_logit:
        refuse("`model.single_logit`", "leave it out: there is one score")
    if not model.channels:
        refuse("no `model.channels`", "give channels and depths, such as [64] and [2]")
    if not model.lipschitz and config.loss.alpha < 1:
        refuse(
            f"`model.lipschitz` false and `loss.alpha` {config.loss.alpha:g}",
            "write alpha = 1: an unconstrained network makes the other part of the loss as small as it likes",
        )
    if data.classes or data.ignore >= 0 or data.binary or data.train_masks or data.val_masks or config.classification:
        refuse(
            "`classes`, masks or labels, or what is said of masks in [data]",
            "leave them out: all training images are normal",
        )
    if data.train_scenes or data.val_scenes:
        refuse("drawn scenes in [data]", "give train_images, val_images and val_anomalous")
    if not data.train_images or not data.val_images or not data.val_anomalous:
        refuse("[data] without train_images, val_images or val_anomalous", "give all three")
    if config.augment.crop:
        refuse("`augment.crop`", "leave it out: the network takes images of one size")
    if config.validation.metrics != ("auroc",):
        refuse(f"`validation.metrics` {list(config.validation.metrics)}", 'write ["auroc"], or leave it out')


def _check_objects(config: Config, where: str) -> None:
    """Refuse what does not fit scores and boxes."""
    model, data, augment = config.model, config.data, config.augment

    def refuse(what: str, mend: str) -> None:
        raise ConfigValue(where, f'{what} with architecture = "{DETECTING}"', mend)

    if config.loss.kind not in OBJECT_LOSSES:
        refuse(f"`loss.kind` {config.loss.kind}", f"choose {', '.join(OBJECT_LOSSES)}")
    if model.single_logit or model.rms_scaling:
        refuse("`model.single_logit` or `model.rms_scaling`", "leave them out")
    names = data.classes
    if not names or len(set(names)) < len(names) or any(not n or '"' in n for n in names):
        refuse("`data.classes` without names, each different", 'write classes = ["runway", "aeroplane"]')
    if config.classification or any(
        (data.train_masks, data.val_masks, data.val_anomalous, data.train_scenes, data.val_scenes)
    ):
        refuse(
            "masks, labels, anomalies or drawn scenes in [data]",
            f"give images and objects (`robspec runway` draws some); {', '.join(MASKED)} and {PRIVATE} learn from "
            f"masks, {PRIVATE} from labels",
        )
    if data.binary or data.ignore >= 0:
        refuse("what is said of masks in [data]", "leave it out")
    if not all((data.train_images, data.train_objects, data.val_images, data.val_objects)):
        refuse("[data] without train_images, train_objects, val_images or val_objects", "give all four")
    if augment.crop or augment.scale != (1.0, 1.0):
        refuse("`augment.crop` or `augment.scale`", "leave them out: boxes are flipped, and not cut")


def _check_labels(config: Config, where: str) -> None:
    """Refuse what does not fit one label for each image."""
    model, data, augment = config.model, config.data, config.augment

    def refuse(what: str, mend: str) -> None:
        raise ConfigValue(where, f"{what} with a label for each image", mend)

    if model.architecture != PRIVATE:
        refuse(
            f"`model.architecture` {model.architecture}",
            f'write "{PRIVATE}", which learns from labels; {", ".join(MASKED)} learn from masks, which '
            "`train_masks` and `val_masks` name",
        )
    if model.single_logit:
        refuse("`model.single_logit`", "leave it out: each class has a logit")
    if config.loss.kind not in ("tau-cce", "cosine", "hkr"):
        refuse(f"`loss.kind` {config.loss.kind}", "choose tau-cce, cosine or hkr")
    if any((data.train_masks, data.val_masks, data.train_scenes, data.val_scenes, data.train_objects)) or any(
        (data.val_objects, data.val_anomalous, data.binary, data.ignore >= 0)
    ):
        refuse("masks, objects, anomalies or drawn scenes in [data]", "leave them out: labels take their place")
    if not all((data.train_images, data.train_labels, data.val_images, data.val_labels)):
        mend = f'give all four; labels are "{BY_FOLDER}", or the name of a CSV file'
        refuse("[data] without train_images, train_labels, val_images or val_labels", mend)
    if augment.crop:
        refuse("`augment.crop`", "leave it out: the last layer reads the whole image")
    _check_classes(data.classes, where)


def _check_classes(names: tuple[str, ...], where: str) -> None:
    if len(names) < 2 or len(set(names)) < len(names) or any(not n or '"' in n for n in names):
        what = "`data.classes` needs two or more different names"
        raise ConfigValue(where, what, 'write classes = ["background", "runway"]')


def _check_pixels(config: Config, where: str) -> None:
    """Refuse what does not fit logits for each pixel."""
    model, data = config.model, config.data

    def refuse(what: str, mend: str) -> None:
        raise ConfigValue(where, what, mend)

    _check_classes(data.classes, where)
    if model.single_logit and len(data.classes) != 2:
        refuse(f"`model.single_logit` with {len(data.classes)} classes", "one logit decides between two classes")
    if model.single_logit and config.loss.kind == "cosine":
        refuse("the cosine of a single logit is a sign, which has no gradient", "choose tau-cce or hkr")
    if model.architecture in SCORING:
        refuse(
            f"`model.architecture` {model.architecture} gives one score per image, `loss.kind` {config.loss.kind} "
            "takes logits for each pixel",
            f'choose {", ".join(MASKED)} or {PRIVATE} for masks, or kind = "{ONE_CLASS}"',
        )
    if config.loss.kind in OBJECT_LOSSES[:2]:
        refuse(
            f"`loss.kind` is {config.loss.kind!r}, and masks are learned from",
            f'it must be one of tau-cce, cosine, hkr; or choose architecture = "{DETECTING}", which finds objects',
        )
    if data.train_objects or data.val_objects:
        refuse("`data.train_objects` or `data.val_objects`", f'they are for architecture = "{DETECTING}"')
    if data.val_anomalous:
        refuse(f'`data.val_anomalous` is for kind = "{ONE_CLASS}"', "leave it out")


def _check_source(data: Source, where: str) -> None:
    for part in ("train", "val"):
        images, masks = getattr(data, f"{part}_images"), getattr(data, f"{part}_masks")
        scenes = getattr(data, f"{part}_scenes")
        if bool(images and masks) == bool(scenes) or bool(images) != bool(masks):
            raise ConfigValue(
                where,
                f"[data] must say where the {part} set comes from, and once",
                f"give {part}_images and {part}_masks, or {part}_scenes; {PRIVATE} also takes {part}_labels",
            )
        if scenes and data.input[1] != data.input[2]:
            raise ConfigValue(where, "drawn scenes are square, `data.input` is not", "give equal sides")


def as_json(config: Config) -> dict[str, object]:
    """Write out every section with the values in force, for the model card."""

    def plain(value: object) -> object:
        if isinstance(value, Fraction):
            return str(value)
        return [plain(v) for v in value] if isinstance(value, tuple) else value

    return {
        name: {f.name: plain(getattr(section, f.name)) for f in fields(section)}
        for name in _SECTIONS
        for section in [getattr(config, name)]
    }
