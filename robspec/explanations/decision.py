"""A change of decision as a question: accuracy against the network's own answer, at one pixel or of one image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robspec.bounds.context import LEFT_OUT
from robspec.explanations.errors import AlreadyViolated, NoQuestion
from robspec.explanations.question import Annotation, as_maps, predictions
from robspec.ir.types import Objective, Program, RadiusQuery
from robspec.lower.compile import compile_text

_SPEC = """language 1
model {{
  input image [{channels}, {height}, {width}] in [0, 1]
  output logits [{logits}, {rows}, {columns}]
  classes {classes}
}}
data asked {{
  images "*"
  masks "*"
}}
property decision {{
  metric {metric}
  norm l2
  degraded when {condition}
  require radius >= 0.5 for all images
}}
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """Another decision is asked for.

    Args:
        to: the class it has to be, or None for any but the present one.
        pixel: row and column of the pixel that is decided; None for a network that decides once for an image.
    """

    to: int | None = None
    pixel: tuple[int, int] | None = None

    def program(self, input_shape: tuple[int, int, int], output_shape: tuple[int, ...]) -> Program:
        """Write it as a specification, so that it is bounded like any other.

        Args:
            input_shape: C, H, W.
            output_shape: K, or K, H, W.

        Returns:
            A program of one property.

        Raises:
            NoQuestion: E0852, no such class or pixel, or a decision at every pixel.
        """
        logits, rows, columns = (*output_shape, 1, 1)[:3]
        count = max(logits, 2)
        if self.to is not None and not 0 <= self.to < count:
            raise NoQuestion("--to", f"there is no class {self.to}", f"choose one of 0 to {count - 1}")
        self._check_pixel(rows, columns)
        channels, height, width = input_shape
        metric, condition = ("pixel_accuracy", "h <= 0") if self.to is None else (f"fpr[c{self.to}]", "h >= 1")
        program, found = compile_text(
            _SPEC.format(
                channels=channels,
                height=height,
                width=width,
                logits=logits,
                rows=rows,
                columns=columns,
                classes=", ".join(f"c{k}" for k in range(count)),
                metric=metric,
                condition=condition,
            )
        )
        if program is None:
            raise ValueError("; ".join(d.message for d in found))
        return program

    def _check_pixel(self, rows: int, columns: int) -> None:
        if self.pixel is None:
            if rows * columns != 1:
                raise NoQuestion(
                    "--pixel",
                    f"the model decides at each of {rows} x {columns} pixels",
                    "name one with --pixel ROW,COLUMN, or ask of a metric with --spec and --property",
                )
            return
        row, column = self.pixel
        if not (0 <= row < rows and 0 <= column < columns):
            raise NoQuestion(
                "--pixel",
                f"there is no pixel {row},{column} in a map of {rows} x {columns}",
                f"rows are 0 to {rows - 1}, columns 0 to {columns - 1}",
            )

    def annotation(self, logits: Tensor, classes: tuple[str, ...], where: str) -> Annotation:
        """Take the present decision as the label.

        Args:
            logits: of the image, [1, K, H, W] or [1, K].
            classes: their names.
            where: the image, for messages.

        Returns:
            The label where it is asked, nothing elsewhere.

        Raises:
            AlreadyViolated: E0851, the decision is the one asked for.
        """
        predicted = predictions(as_maps(logits))
        row, column = self.pixel or (0, 0)
        present = int(predicted[0, row, column])
        if present == self.to:
            raise AlreadyViolated(
                where,
                f"the decision is {classes[present]} already: the nearest is at distance 0 and q is undefined",
                "ask for another class",
            )
        labels = torch.full_like(predicted, LEFT_OUT)
        labels[0, row, column] = present
        return Annotation(labels, LEFT_OUT)

    def text(self, annotation: Annotation, classes: tuple[str, ...]) -> str:
        """Say what is asked for, in words."""
        place = "" if self.pixel is None else f" at pixel {self.pixel[0]},{self.pixel[1]}"
        if self.to is not None:
            return f"the decision {classes[self.to]}{place}"
        if annotation.labels is None:
            raise ValueError("a decision is a label")
        return f"a decision other than {classes[int(annotation.labels.max())]}{place}"


def only_objective(program: Program) -> Objective:
    """Take the objective of a program that has one."""
    (prop,) = program.properties
    if not isinstance(prop.query, RadiusQuery):
        raise ValueError("a decision is a question of a radius")
    return prop.query.objectives[0]
