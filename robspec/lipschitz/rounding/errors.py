"""What has no bound on its rounding error; the docstring is what `robspec explain` prints."""

from __future__ import annotations

from robspec.errors import RobspecError


class NoRoundingRule(RobspecError):
    """A node of the model has a Lipschitz constant, but nothing is known of how far its rounding may be off.

    With `--arithmetic real` a verdict is about the function over the real numbers that the model's graph denotes, and
    what the forward pass in float64 may differ from it is part of the proof. Each operation needs a rule for that, as
    it needs one for its constant; those without are refused, never guessed.

    Example: a gate that takes the root of a sum of squares.

    Mend: write it as operations that have a rule; or say `--arithmetic exact`, which takes the forward pass as exact
    and names that assumption in every report.
    """

    code = "E0507"
    title = "operation without a bound on its rounding error"
