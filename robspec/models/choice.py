"""Which part of a model file is meant, where it holds more than one function of an image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from robspec.models.errors import ModelChoice

_SHAPE = re.compile(r"(?:(.+)=)?([0-9]{1,7}),([0-9]{1,7}),([0-9]{1,7})", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE]-?[0-9]{1,2})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Choice:
    """What is chosen of a model file.

    Args:
        output: name of a value of an ONNX graph, or key or number of one of several outputs; None for the only one.
        image: name of the input that takes the images; None for the only one.
        shape: C, H, W of the images where the file leaves sides free; None for the specification's.
        fixed: numbers that other inputs, by name, or channels, by number from 0, hold.
    """

    output: str | None = None
    image: str | None = None
    shape: tuple[int, int, int] | None = None
    fixed: tuple[tuple[str, float], ...] = ()

    def described(self) -> tuple[str, ...]:
        """Say what was chosen, in lines for a report."""
        lines = [] if self.output is None else [f"model output: {self.output}"]
        if self.image is not None:
            lines.append(f"model input: {self.image}")
        return (*lines, *(f"model input fixed: {name} = {number:g}" for name, number in self.fixed))


WHOLE = Choice()
"""Nothing chosen: the file holds one function of an image."""


def read_choice(output: str | None = None, given: str | None = None, fixed: Sequence[str] = ()) -> Choice:
    """Read options as they are written.

    Args:
        output: of `--output` or `--model-output`.
        given: of `--input`: NAME, C,H,W or NAME=C,H,W.
        fixed: of `--fix`: CHANNEL=VALUE or NAME=VALUE, each.

    Raises:
        ModelChoice: E0225, an option that says neither.
    """
    image, shape = given, None
    found = None if given is None else _SHAPE.fullmatch(given)
    if found is not None:
        image = found[1]
        shape = (int(found[2]), int(found[3]), int(found[4]))
        if 0 in shape:
            raise ModelChoice("--input", f"{given!r} has a side of 0", "write channels, height, width: 3,256,256")
    numbers: dict[str, float] = {}
    for text in fixed:
        name, sign, number = text.rpartition("=")
        if not sign or not name or not _NUMBER.fullmatch(number) or name in numbers:
            raise ModelChoice(
                "--fix", f"{text[:60]!a} fixes nothing, or something twice", "write CHANNEL=VALUE, such as 3=0"
            )
        numbers[name] = float(number)
    return Choice(output, image, shape, tuple(numbers.items()))
