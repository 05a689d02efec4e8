"""Errors of the certified torchmetrics: arguments and tensors that no certificate can be made of."""

from __future__ import annotations

from robspec.errors import RobspecError


class BadMetricArgument(RobspecError):
    """A certified torchmetric was given an argument it cannot use.

    Budgets are numbers of at least 0: a float counts as the decimal it prints as, text as an exact decimal or a
    quotient (`"8/255"`). The Lipschitz constant is a number above 0, rounded up. Metrics and conditions are written
    as in the language, the classes being called c0, c1, ... in the order of the channels. `aggregate="share"` needs a
    `threshold`, and no other aggregate takes one.
    """

    code = "E0711"
    title = "bad argument of a certified torchmetric"


class BadBatch(RobspecError):
    """A certified torchmetric was given tensors it cannot read.

    Logits are [B, K, H, W] for K classes, or [B, 1, H, W] or [B, H, W] for a single logit; labels are integers
    [B, H, W] below K or equal to `ignore_index`. All batches of one metric must have the same number of classes.
    """

    code = "E0712"
    title = "tensors a certified torchmetric cannot read"


class MixedStates(RobspecError):
    """Two certified torchmetrics that ask different questions were merged.

    Every process, and every metric whose state is merged into another, must have been made with the same arguments:
    the mean of a certificate within 0.1 and of one within 0.2 means nothing.
    """

    code = "E0713"
    title = "merged metrics ask different questions"


class NoLogits(RobspecError):
    """A certified torchmetric was given the output of a sigmoid, softmax or ReLU.

    Of a single logit the sign decides, and the certificate counts how far each is from 0: probabilities are never
    below 0, so that every pixel would count as the second class. Of several classes probabilities decide alike, but
    the constant of the logits is not theirs. Refused are, over all images seen so far, a single logit that is always
    between 0 and 1, or never below 0 though it comes as close as a thousandth of the largest (a ReLU's, a
    softplus's); and numbers of K classes that lie between 0 and 1 and add up to 1 at every pixel. Batches of fewer
    than 16 numbers show nothing, nor do maps of nothing but zeros and ones for several classes. Pass what the model
    computes before its last activation; `check_logits=False` takes whatever comes for logits.
    """

    code = "E0714"
    title = "no logits but probabilities"


class UnreadableState(RobspecError):
    """The state of a certified torchmetric is not what it wrote.

    A state holds every certified value exactly, as whole numbers from 0 to 127: every floating type holds these, so
    `set_dtype` does no harm. `set_dtype(torch.bool)`, a state written by another version, or one that was edited
    cannot be read back. `reset()` begins anew.
    """

    code = "E0715"
    title = "unreadable state of a certified torchmetric"
