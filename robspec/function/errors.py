"""What makes a file no function of one image; the docstrings are what `robspec explain` prints."""

from __future__ import annotations

from robspec.errors import RobspecError


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
    """A weight, or a constant computed from weights, is NaN or infinite; or a bound, or the network, may overflow.

    A constant is of the function over the reals. Where a number inside the network may leave the range of its type,
    for some image in range, what follows (a clamp, a relu) could hide that another function runs.

    Example: a normalisation whose standard deviation is stored as 0; weights of 1e30 before weights of 1e-30.

    Mend: repair or retrain the layer that is named; re-export the model. `--forward float64` has more range.
    """

    code = "E0505"
    title = "weights that are not finite"


class OneSign(RobspecError):
    """The single output channel can have one sign only, so every pixel gets the same class whatever the image.

    With one output channel a pixel belongs to the second class where its logit is above 0. A probability, a
    rectified value or a distance is never below 0: read as a logit it would call every pixel the second class, and
    a specification could be proved that says nothing. A last sigmoid is recognised and taken off; anything else that
    is provably of one sign is refused.

    Example: `return torch.relu(self.head(x))`, or `0.5 * (torch.tanh(z) + 1)`.

    Mend: return the logit itself, whose sign decides; or two channels, one per class.
    """

    code = "E0506"
    title = "output of one sign"
