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


class UnknownOperation(RobspecError):
    """The model uses an operation for which robspec has no rule.

    robspec never guesses: an operation without a proved rule is refused, even where it may well be
    harmless.

    Example: `torch.linalg.eigvals(x)` inside the forward pass.

    Mend: express the operation through known ones, or add a rule: one file in robspec/lipschitz/rules/.
    """

    code = "E0502"
    title = "operation without a Lipschitz rule"


class UnsuitableProgram(RobspecError):
    """The exported program as a whole does not describe one function from an image to its logits.

    The prover needs exactly one image input, exactly one output tensor, a fixed image size (only the batch
    dimension may be dynamic), evaluation mode, floating-point data throughout, and no state that changes
    between calls.

    Example: a model exported in training mode, whose batch normalisation updates its running statistics.

    Mend: call `model.eval()` before `torch.export.export`, return the logits only, fix the height and
    width.
    """

    code = "E0503"
    title = "program is not one function of one image"


class MixedBatch(RobspecError):
    """An operation lets the images of one batch influence each other.

    A certificate is about one image; if the logits of an image depend on its neighbours in the batch, no
    constant per image describes the model.

    Example: `x - x.mean(dim=0)`, or `x.reshape(channels, batch, ...)` before a convolution.

    Mend: keep the batch as the first dimension and do not reduce, sort, flip or reshape across it.
    """

    code = "E0504"
    title = "images of a batch influence each other"


class NotFinite(RobspecError):
    """A weight, or a constant computed from weights, is NaN or infinite, or a bound overflows.

    Example: a normalisation whose standard deviation is stored as 0.

    Mend: repair or retrain the layer that is named; re-export the model.
    """

    code = "E0505"
    title = "weights that are not finite"
