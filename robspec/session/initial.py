"""A first specification from what a model and a folder are, commented, for its reader to correct."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robspec.data import raster, reading, tables, whole
from robspec.data.dataset import open_dataset
from robspec.data.errors import BadLabelTable
from robspec.data.layouts._layout import plain
from robspec.data.pairing import Pair, pair
from robspec.data.reading import is_array
from robspec.diagnostics import Source, SpecError
from robspec.lower import compile_source
from robspec.models.choice import WHOLE, Choice
from robspec.models.errors import BareWeights, ModelChoice, ModelInterface
from robspec.models.loading import LoadedModel, load
from robspec.session import recognise
from robspec.session.errors import NothingRecognised
from robspec.syntax import format_file, parse, write
from robspec.syntax.ast import ClassName

_LOOKED_AT = 16
"""Masks whose numbers are looked at."""

_LOW = ("normal", "good", "ok", "healthy", "negative", "no", "clean")
"""Names of the side that a low score stands for, as far as a name tells."""

_PERHAPS_A_DETECTOR = ("outputs: ", "not to one map of logits")
"""What is said of models that return several tensors, or a row for each location."""

_DETECTORS = "of a detector no specification is written here: docs/how-to/check-a-detector.md shows one"

_SIDES = ("normal", "anomalous")


@dataclass(frozen=True, slots=True)
class _Block:
    """The data block's lines, and the names of the classes where they are known."""

    lines: tuple[str, ...]
    classes: tuple[str, ...] = ()
    annotated: bool = False


def write_specification(model: Path, data: Path, output: Path, choice: Choice = WHOLE) -> str:
    """Write a specification that `check` accepts as it is.

    Args:
        model: a torch.export archive or an ONNX file.
        data: the folder of images.
        output: where it will lie; the patterns start from its folder.
        choice: which part of the model file is meant.

    Returns:
        Its text.

    Raises:
        NothingRecognised: E0871.
        RobspecError: the model is refused, or the images cannot be read.
    """
    try:
        loaded = load(model, choice=choice)
    except BareWeights as error:
        raise BareWeights(error.where, error.what, "write an archive with `robspec export`") from error
    except (ModelChoice, ModelInterface) as error:
        if not any(said in error.what for said in _PERHAPS_A_DETECTOR):
            raise
        raise type(error)(error.where, error.what, f"{error.mend}; {_DETECTORS}") from error
    if not data.is_dir():
        raise NothingRecognised(str(data), "there is no such folder", "name the folder that holds the images")
    shape = loaded.output_shape
    count = 2 if len(shape) in (1, 3) and shape[0] == 1 else shape[0]
    root = Path(os.path.relpath(data, output.parent)).as_posix()
    judged = len(shape) == 1
    block = _whole(data, root, count, score=shape[0] == 1) if judged else _pixels(data, root, loaded, count)
    text = _text(model, data, loaded, block, count)
    source = Source(text, str(output))
    text = format_file(parse(source).file)
    program, diagnostics = compile_source(Source(text, str(output)))
    if program is None:
        raise SpecError(diagnostics, source)
    next(open_dataset(program.data, program.model, output.parent).batches(1))
    return text


def _text(model: Path, data: Path, loaded: LoadedModel, block: _Block, count: int) -> str:
    shape = loaded.output_shape
    score = len(shape) == 1 and shape[0] == 1
    names = block.classes or tuple(f"class_{k}" for k in range(count))
    classes = ", ".join(write.class_name(ClassName(name)) for name in names)
    known = (
        "as the data call them: put them in the order of the model's outputs"
        if block.classes
        else "the model does not name its classes: correct these"
    )
    judged = f"classes {classes} # {known}"
    if score:
        sides = sorted(names, key=lambda name: (name.lower() not in _LOW, name)) if block.classes else _SIDES
        low, high = (write.class_name(ClassName(name)) for name in sides)
        judged = f"annotation {low} | {high} # what a low score stands for, and what a high one does: correct this"
    metric = "auroc" if score else "stability"
    if block.annotated and not score:
        metric = "pixel_accuracy" if len(shape) == 3 else "accuracy"
    size = ", ".join(map(str, loaded.input_shape))
    return "\n".join(
        [
            f"# {_plain(model.name)} on {_plain(data.name)}: written by `robspec init`, to be read and corrected.",
            "language 1",
            "param eps = 0.1 # the budget of an attack, in units of the declared input",
            "model {",
            "# The range of the pixels the model was trained on. Stored integers are scaled to it.",
            f"input image [{size}] in [0, 1]",
            f"output {'logits' if len(shape) == 3 else 'scores'} [{', '.join(map(str, shape))}]",
            judged,
            "# If the model file does not normalise its input itself, say so here:",
            "# normalize mean [0.485, 0.456, 0.406] std [0.229, 0.224, 0.225]",
            "}",
            "data val {",
            *block.lines,
            "}",
            "property robust {",
            f"metric {metric} # `robspec metrics` lists the others",
            "norm l2",
            *(["attack both"] if score else []),
            "budget eps",
            "# What must hold whatever an attack of this size does: choose the number.",
            "require worst_case >= 0.5" if score else "require mean(worst_case) >= 0.5",
            "}",
            "",
        ]
    )


def _plain(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)


def _whole(data: Path, root: str, count: int, *, score: bool) -> _Block:
    """Labels of whole images: a table, or one folder for each class."""
    start = recognise.escaped(root)
    place = recognise.folders(data)
    if (data / "labels.csv").is_file() and place is not None:
        lines = [f'images "{start}/{place.images}"', f'labels "{root}/labels.csv"']
        names = _named(data / "labels.csv", count)
        if names and not score:
            lines.insert(0, "# The classes are in the order of their names: is it the outputs'?")
        return _Block(tuple(lines), names, True)
    inner = sorted(p.name for p in itertools.islice(data.iterdir(), 10_000) if p.is_dir())
    if len(inner) == count > 1:
        return _Block(
            (
                "# One folder for each class, in the order of their names.",
                f'images "{start}/*/*"',
                "labels by folder",
            ),
            tuple(inner),
            True,
        )
    if place is None or score:
        raise NothingRecognised(
            str(data),
            f"there are neither {count} folders, one for each class, nor a table labels.csv beside images",
            "name the folder that holds the images, or write the data block by hand",
        )
    return _Block((f'images "{start}/{place.images}"',))


def _named(table: Path, count: int) -> tuple[str, ...]:
    """The class names that a table of labels holds; none where its labels are indices, or are not as many."""
    rows = tables.rows(reading.file_bytes(table, table.name), table.name, whole.COLUMNS, BadLabelTable)
    found = {label for _, (_, label) in rows}
    indices = found <= {str(k) for k in range(count)}
    writable = all(name and name.isprintable() and '"' not in name for name in found)
    return tuple(sorted(found)) if len(found) == count and writable and not indices else ()


def _pixels(data: Path, root: str, loaded: LoadedModel, count: int) -> _Block:
    published = recognise.published(data)
    if published is not None:
        return _of_layout(published, root, loaded, count)
    place = recognise.folders(data)
    if place is None:
        mend = 'name the folder that holds the images, or write `images "DIR/{case}/photo.png"` and masks by hand'
        raise NothingRecognised(str(data), "no folder in it holds images", mend)
    start = recognise.escaped(root)
    pairs = pair(data, place.images, place.masks)
    lines = [f'images "{start}/{place.images}"']
    if place.masks:
        values = _values(pairs)
        lines += _masks(f"{start}/{place.masks}", values, count)
    return _Block((*lines, *_steps(pairs, loaded)), (), bool(place.masks))


def _of_layout(published: recognise.Published, root: str, loaded: LoadedModel, count: int) -> _Block:
    layout = published.layout
    split = f" split {published.split}" if published.split else ""
    lines = [f"# {layout.title}, as published at {layout.source}.", f'layout {layout.name} "{root}"{split}']
    names = tuple(dict.fromkeys(name for _, name in published.found.published if name is not None))
    if len(names) != count:
        lines += [
            f"# The model has {count} classes, the data {len(names)}: say which is which.",
            "map others to ignored",
        ]
        names = names[:count] + tuple(f"class_{k}" for k in range(len(names), count))
        free = 1 << 20
        extra = [n for n in names if n.startswith("class_")]
        lines += [f"map {free + k} to {name}" for k, name in enumerate(extra)]
    if len({plain(name) for name in names}) < len(names):
        names = ()
    return _Block((*lines, *_steps(published.found.pairs, loaded)), names, True)


def _masks(pattern: str, values: set[int] | None, count: int) -> list[str]:
    """How masks that hold these numbers are read; None for masks in colour."""
    if values is None:
        return [
            "# The masks are in colour: say what each colour stands for.",
            f'masks "{pattern}"',
            "map #000000 to class_0, others to class_1",
        ]
    if count == 2 and 255 in values and values <= {0, 255}:
        return [f'masks "{pattern}" binary']
    outside = sorted(v for v in values if not 0 <= v < count)
    if not outside:
        return [f'masks "{pattern}"']
    shown = ", ".join(map(str, outside))
    return [
        f'masks "{pattern}"',
        f"# Labels that are no class: {shown}. Ignored, unless `map` says what they are.",
        f"ignore {shown}",
    ]


def _values(pairs: tuple[Pair, ...]) -> set[int] | None:
    """The numbers in the first masks; None where they are in colour."""
    found: set[int] = set()
    for p in pairs[:: max(1, len(pairs) // _LOOKED_AT)][:_LOOKED_AT]:
        if p.mask is None or is_array(p.mask):
            continue
        blob = reading.file_bytes(p.mask, p.mask_name)
        if not raster.header_of(blob, p.mask_name).flat:
            return None
        plane = raster.plane(blob, p.mask_name, "mask")
        found |= {int(v) for v in np.unique(plane.values if plane.greys is None else plane.greys)}
    return found


def _steps(pairs: tuple[Pair, ...], loaded: LoadedModel) -> list[str]:
    """Bring images to the model's size where they have another one."""
    first = pairs[0]
    if is_array(first.image):
        return []
    height, width = loaded.input_shape[1:]
    with first.image.open("rb") as file:
        sides = raster.header(file, first.name).upright
    if sides == (height, width):
        return []
    return [
        f"# Images are {sides[0]} x {sides[1]}, the input is {height} x {width}: attacks are on the resized image.",
        f"resize [{height}, {width}] by bilinear",
    ]
