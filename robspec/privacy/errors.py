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


class NoCard(RobspecError):
    """A specification asks how a model was trained, and nothing beside the model says so.

    `privacy { ... }` is about the training, which a model file does not show. `robspec train` writes `card.json`,
    with the noise, the steps and the sensitivities of a private run. It is looked for in the folder of the model, as
    `card.json` or as a file of the model's name that ends in .json.

    Example: `robspec check copied.pt2 private.rspec`, where the model was copied without its card.

    Mend: put the card of the model into its folder; `--claims ignore` leaves the privacy block aside, and says so.
    """

    code = "E0510"
    title = "model without a card"


class CardOfAnother(RobspecError):
    """The card beside a model is that of another model.

    A card names the SHA-256 of the model file it was written for. Where that differs, nothing in the card is about
    the model at hand, also where it was trained further, or exported anew.

    Example: a model that was replaced after `robspec train` had written its card.

    Mend: put the model's own card beside it, or check the model that the card names.
    """

    code = "E0511"
    title = "card of another model"


class UnusableCard(RobspecError):
    """The card of a model does not describe a private training that can be accounted for.

    It must be of a run with `[privacy]`, protect the addition or removal of one sample, draw each sample by itself,
    and name the probability, the steps, and for each trained parameter its noise and sensitivity. These are compared
    with what the model's graph says: noise that is too small for the sensitivities proved there, weights outside the
    bounds the card names, an epsilon below what its own steps come to, and a training log of another digest are
    refused.

    Example: the card of a run without `[privacy]`; one whose relation is the replacement of a sample.

    Mend: train with a section `[privacy]`, and keep card, training log and model as they were written.
    """

    code = "E0512"
    title = "card that shows no private training"
