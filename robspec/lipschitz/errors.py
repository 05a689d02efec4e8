"""What the Lipschitz prover refuses, and why; the docstrings are what `robspec explain` prints."""

from __future__ import annotations

from robspec.errors import RobspecError


class NoGlobalConstant(RobspecError):
    """An operation of the model has no global Lipschitz constant, or none that robspec can prove.

    A certificate needs one number L that holds for every pair of images. Attention, the product of two
    tensors that both depend on the image, division by such a tensor, squares, square roots and exponentials
    have none: their slope grows with the activations.

    Example: `return a * b` with `a` and `b` both computed from the image.

    Mend: use an operation with a global constant (a bounded gate, MaxMin, an average), or rescale by
    constants that do not depend on the image. Layer, group and instance normalisation become certifiable
    when the division by the data's own deviation is dropped (centring alone is 1-Lipschitz).
    """

    code = "E0501"
    title = "no global Lipschitz constant"

    def __init__(self, where: str, what: str, mend: str, *, jumps: bool = False) -> None:
        super().__init__(where, what, mend)
        self.jumps = jumps
        """Whether the operation jumps, so that no constant can be assumed for it either."""


class UnknownOperation(RobspecError):
    """The model uses an operation for which robspec has no rule.

    robspec never guesses: an operation without a proved rule is refused, even where it may well be
    harmless.

    Example: `torch.linalg.eigvals(x)` inside the forward pass.

    Mend: express the operation through known ones, or add a rule: one file in robspec/lipschitz/rules/.
    """

    code = "E0502"
    title = "operation without a Lipschitz rule"
