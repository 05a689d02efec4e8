"""What has no bound on its gradients; the docstrings are what `robspec explain` prints."""

from __future__ import annotations

from robspec.errors import RobspecError


class NoSensitivity(RobspecError):
    """What one sample can change of a training step has no bound that robspec can prove.

    Noise hides a sample where the gradient of its loss is bounded for every image, label and setting of the other
    samples. That takes a rule for the gradient of every operation, as automatic differentiation computes it, ties and
    kinks included; every trained parameter must be read by such an operation as it is stored; and nothing may mix
    samples. Batch normalisation uses statistics of the batch while training, and dropout is another function then:
    both are refused although an archive in evaluation mode looks harmless. A weight that is computed from parameters,
    as by a parametrisation, is refused too: the derivative of that computation would belong to the bound.

    Example: a layer with `torch.nn.utils.parametrizations.orthogonal` on its weight.

    Mend: store the weight itself and bring it back to orthogonality after each step; replace what is named by an
    operation with a rule, listed in docs/explanation/privacy.md.
    """

    code = "E0508"
    title = "gradient without a bound"


class NoBudget(RobspecError):
    """A privacy budget cannot be kept, or the numbers do not describe one.

    Each step spends some of the budget, and is charged before it is taken: whoever stops a run may have seen what it
    did. A run that was killed between two checkpoints has spent those steps and has nothing from them, and ends
    before its last one once nothing is left.

    Example: `epsilon = 0.001` for a thousand steps; a delta of 0.

    Mend: train fewer steps, draw smaller batches, or allow a larger epsilon.
    """

    code = "E0509"
    title = "privacy budget that cannot be kept"
