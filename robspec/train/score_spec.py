"""The specification of a one-class model: the areas under the ROC curve certified on its validation images."""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

from robspec.data.pairing import Pair, pair
from robspec.diagnostics import Source
from robspec.errors import RobspecError
from robspec.models.writing import write_whole
from robspec.semantics.constant import Constant
from robspec.semantics.norm import directed_text
from robspec.syntax import format_file, parse
from robspec.train import certify
from robspec.train.config import Config

SPEC, LABELS = "model.rspec", "labels.csv"
_SIDES = ("normal", "anomalous")
_PLACES = 100
"""A promise in the written specification is a certified area rounded down to hundredths."""


def write_specification(
    config: Config, out: Path, sides: Sequence[tuple[Pair, ...]], row: dict[str, Any], constant: Constant
) -> bool:
    """Write what `robspec check` proves again, and the table of labels beside it.

    Args:
        config: shapes, patterns and budgets.
        out: the run's folder.
        sides: the normal and the anomalous validation images.
        row: `certified`, areas by budget as they are written.
        constant: proved of the archive.

    Returns:
        False, and nothing is written, where no one pattern matches these images and no others.
    """
    root = config.path.parent
    pattern = common(config.data.val_images, config.data.val_anomalous)
    seen = {p.name for side in sides for p in side}
    try:
        same = {p.name for p in pair(root, pattern, "", unique=False)} == seen
        start = Path(os.path.relpath(root, out)).as_posix()
    except (RobspecError, ValueError):  # such as folders on two drives
        return False
    if not same or any(c in start + pattern for c in '"{}'):
        return False
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("image", "label"))
    for label, side in zip(_SIDES, sides, strict=True):
        writer.writerows((f"{start}/{p.name}", label) for p in side)
    write_whole(out / LABELS, table.getvalue().encode())
    write_whole(out / SPEC, _text(config, f"{start}/{pattern}", row, constant).encode())
    return True


def common(first: str, second: str) -> str:
    """Find the narrowest pattern, part by part of the path, that matches what two patterns do.

    Returns:
        Parts in which they agree, and * where they do not, with the ending that they share; ** in front of the name
        where one is deeper.
    """
    one, two = PurePosixPath(first).parts, PurePosixPath(second).parts
    if len(one) != len(two):
        return f"**/{_either(one[-1], two[-1])}"
    return "/".join(_either(a, b) for a, b in zip(one, two, strict=True))


def _either(one: str, two: str) -> str:
    if one == two:
        return one
    shared = sum(
        1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one[::-1], two[::-1], strict=False))
    )
    end = one[len(one) - shared :].lstrip("*")
    return "*" + ("" if "[" in end or "]" in end else end)


def _text(config: Config, images: str, row: dict[str, Any], constant: Constant) -> str:
    shape = ", ".join(map(str, config.data.input))
    lines = ["language 1", "model {", f"  input image [{shape}] in [0, 1]", "  output score [1]"]
    lines += ["  annotation normal | anomalous"]
    lines += [f"  lipschitz l2 <= {directed_text(certify.rounded_up(constant), 9, up=True)}", "}"]
    lines += ["data val {", f'  images "{images}"', f'  labels "{LABELS}"', "}"]
    for eps, area in row["certified"].items():
        floor = Fraction(math.floor(Fraction(area) * _PLACES), _PLACES)
        name = f"auroc_within_{eps}".replace(".", "_").replace("/", "_")
        lines += [f"property {name} {{", "  metric auroc", "  norm l2", "  attack anomalous", f"  budget {eps}"]
        lines += [f"  require worst_case >= {directed_text(floor, 2, up=False)}", "}"]
    text = "\n".join(lines) + "\n"
    return format_file(parse(Source(text)).file)
