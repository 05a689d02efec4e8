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
