"""The fixed up-sampling that ends a network, as kernels take it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

from robspec.function.program import AnyProgram
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.lipschitz.ending import Ending, find_ending


@dataclass(frozen=True, eq=False)
class Tail(Ending):
    """A fixed linear map at the end of a program, with its pixels gathered in cells."""

    @cached_property
    def grid(self) -> Grid:
        """How pixels are made of nodes, by the definition of the interpolation."""
        rows, columns = (Axis.of(line, side) for line, side in zip(self.lines, self.sides, strict=True))
        return Grid(rows, columns)


def find(program: AnyProgram) -> Tail | None:
    """Find the up-sampling that ends a program; see `find_ending`."""
    found = find_ending(program)
    return None if found is None else Tail(*(getattr(found, field.name) for field in fields(Ending)))
