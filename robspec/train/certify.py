"""Certified accuracy of a network on the validation set, through the project's own check."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from robspec.data.dataset import Dataset
from robspec.diagnostics import Source, SpecError
from robspec.function.running import exact_arithmetic
from robspec.ir.types import Program
from robspec.lower import compile_source
from robspec.models.lipnets.network import SegmentationNet
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2, decimal_text, directed_text
from robspec.syntax import format_file, parse
from robspec.train.config import BY_FOLDER, Config
from robspec.verify.backend import choose
from robspec.verify.established import Established
from robspec.verify.result import CheckReport
from robspec.verify.run import LogitsModel, check

ALLOWANCE = Fraction(10001, 10000)
"""What float32 weights may exceed a design constant by; the export is proved to stay within it."""

_OF_EACH = ("accuracy", "top_k", "stability")
"""Metrics that whole images have one by one; what counts images has one value for all."""
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9]+")


def specification(
    config: Config, metrics: Sequence[str], floors: dict[tuple[str, Fraction], Fraction], claim: Fraction | None
) -> str:
    """Write a specification for a trained model.

    Args:
        config: shapes, classes, files and budgets.
        metrics: of the language, one property per metric and budget.
        floors: what the mean worst case must reach; 0 where missing.
        claim: a Lipschitz constant to declare, or None; with one also the privacy that was trained for is asked.

    Returns:
        The text, as `robspec fmt` lays it out where it can be read at all.
    """
    source = config.data
    drawn = bool(source.val_scenes)
    shape = ", ".join(map(str, source.input))
    plane = () if config.classification else source.input[1:]
    outputs = ", ".join(map(str, (config.outputs, *plane)))
    lines = ["language 1", "", "model {", f"  input image [{shape}] in [0, 1]", f"  output logits [{outputs}]"]
    lines.append("  classes " + ", ".join(f'"{name}"' for name in source.classes))
    if claim is not None:
        lines.append(f"  lipschitz l2 <= {directed_text(claim, 9, up=True)}")
    lines.append("}")
    if config.privacy.epsilon > 0 and claim is not None:
        # The decimals that are written in the configuration: its numbers were read as the doubles nearest to them.
        lines += ["", "privacy {", f"  epsilon <= {config.privacy.epsilon!r} at delta {config.privacy.delta!r}", "}"]
    lines += ["", "data val {"]
    lines.append(f'  images "{"images/*.png" if drawn else source.val_images}"')
    if config.classification:
        lines.append("  labels by folder" if source.val_labels == BY_FOLDER else f'  labels "{source.val_labels}"')
    else:
        lines.append(f'  masks "{"masks/*.png" if drawn else source.val_masks}"{" binary" if source.binary else ""}')
    if source.ignore >= 0:
        lines.append(f"  ignore {source.ignore}")
    lines.append("}")
    for metric in metrics:
        whole = config.classification and not metric.startswith(_OF_EACH)
        value = "worst_case" if whole else "mean(worst_case)"
        for budget in config.validation.budgets:
            floor = floors.get((metric, budget), Fraction(0))
            if any(floors.values()) and not floor:
                continue
            lines += [
                "",
                f"property {name_of(metric, budget)} {{",
                f"  metric {metric}",
                "  norm l2",
                f"  budget {decimal_text(budget)}",
            ]
            lines += [f"  require {value} >= {decimal_text(floor)}", "}"]
    text = "\n".join(lines) + "\n"
    parsed = parse(Source(text))
    return text if parsed.diagnostics else format_file(parsed.file)


def name_of(metric: str, budget: Fraction) -> str:
    """Name the property of a metric and a budget."""
    return _NOT_A_NAME.sub("_", f"{metric}_within_{decimal_text(budget)}").strip("_")


def compiled(text: str, name: str) -> Program:
    """Compile a specification.

    Raises:
        SpecError: a metric of the configuration is not one of the language's, or fits neither classes nor norm.
    """
    source = Source(text, name)
    program, diagnostics = compile_source(source)
    if program is None:
        raise SpecError(diagnostics, source)
    return program


class Live:
    """A settled network as the check runs models.

    Args:
        network: settled, in evaluation mode.
        config: its shapes.
    """

    def __init__(self, network: SegmentationNet, config: Config) -> None:
        self._network = network
        self.input_shape = tuple(config.data.input)
        self.output_shape = (config.outputs, *((1, 1) if config.classification else config.data.input[1:]))

    def logits(self, images: Tensor) -> Tensor:
        """Compute logits, [B, K, H, W], of whole images [B, K, 1, 1], without gradients or reduced precision."""
        with exact_arithmetic(torch.device("cpu")):
            found: Tensor = self._network(images)
        return found.reshape(-1, *self.output_shape)


def design_constant(network: SegmentationNet) -> Constant | None:
    """What a network is designed for, as an assumption with its allowance; None for an unconstrained one."""
    if network.design_lipschitz is None:
        return None
    value = Fraction(network.design_lipschitz) * ALLOWANCE
    return Constant(value, L2, L2, ConstantStatus.ASSUMED, "the design constant, before the proof")


def certify(program: Program, model: LogitsModel, data: Dataset, constant: Constant) -> CheckReport:
    """Bound the metrics of a program on a data set with one constant.

    Args:
        program: worst-case properties in l2.
        model: maps images to logits.
        data: the images.
        constant: l2 to l2.

    Returns:
        The report.

    Raises:
        KeyboardInterrupt: it was stopped before the last image.
    """
    established = Established(tuple(constant for _ in program.properties))
    report = check(program, model, data, choose("auto"), established)
    require_complete(report)
    return report


def require_complete(report: CheckReport) -> None:
    """Stop where a check was stopped: the mean of some images is not that of the validation set.

    Raises:
        KeyboardInterrupt: images are missing.
    """
    if not report.complete:
        raise KeyboardInterrupt


def means(
    config: Config, metrics: Sequence[str], report: CheckReport
) -> dict[tuple[str, Fraction], tuple[Fraction | None, Fraction | None]]:
    """Average each property over the images where its metric is defined.

    Args:
        config: its budgets.
        metrics: those of the specification the report answers, in order.
        report: one property per metric and budget.

    Returns:
        By metric and budget: clean and certified mean, exact; None where no image counts.
    """
    found: dict[tuple[str, Fraction], tuple[Fraction | None, Fraction | None]] = {}
    keys = [(metric, budget) for metric in metrics for budget in config.validation.budgets]
    for key, result in zip(keys, report.properties, strict=True):
        pairs = [(i.clean, i.certified[0]) for i in result.images]
        counted = [(c, Fraction(w)) for c, w in pairs if c is not None and w is not None]
        size = len(counted)
        clean, worst = (sum((pair[k] for pair in counted), Fraction(0)) for k in (0, 1))
        found[key] = (clean / size, worst / size) if size else (None, None)
    return found


def table(found: dict[tuple[str, Fraction], tuple[Fraction | None, Fraction | None]]) -> dict[str, Any]:
    """Write means as JSON has them, rounded down.

    Returns:
        By metric: clean mean, and certified mean by budget.
    """
    rows: dict[str, Any] = {}
    for (metric, budget), (clean, worst) in found.items():
        row = rows.setdefault(metric, {"clean": shown(clean), "certified": {}})
        row["certified"][decimal_text(budget)] = shown(worst)
    return rows


def shown(value: Fraction | None) -> float | None:
    """Round an exact mean down to six decimals."""
    return None if value is None else math.floor(value * 10**6) / 10**6


def rounded_up(constant: Constant) -> Fraction:
    """Round a constant up to nine decimals."""
    return Fraction(math.ceil(constant.value * 10**9), 10**9)
