"""Overrides from the command line that cannot be used."""

from __future__ import annotations

from robspec.errors import RobspecError


class BadOverride(RobspecError):
    """A `--set name=value` names no parameter of the specification, or its value is no exact number.

    The name must be declared in the specification (`param eps = 0.1`), and the value must be a decimal or a
    quotient of two decimals, read exactly: `--set eps=0.2`, `--set eps=8/255`. A repeated name takes the
    last value given.

    `--use NAME` takes the place of the specification's own `use`: it must name one of its data blocks, and one that
    some property is about.
    """

    code = "E0013"
    title = "an override cannot be used"
