"""How steep a loss is in the logits of one sample: the constants everything else is multiplied by."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from robspec.lipschitz import directed
from robspec.privacy.errors import NoSensitivity


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss of one sample, the mean over the positions of its logits; the number of positions is public.

    Args:
        name: one of `LOSSES`.
        tau: the inverse temperature, > 0.
        floor: of the cosine, the length that shorter logits are taken to have, > 0.
    """

    name: str
    tau: float = 1.0
    floor: float = 1.0

    def constant(self, channels: int, positions: int) -> tuple[float, str]:
        """Bound the l2 norm of the loss's gradient in the logits of one sample.

        Args:
            channels: logits at each position.
            positions: 1 for whole images.

        Returns:
            The bound, rounded up, and the formula it comes from.

        Raises:
            NoSensitivity: E0508, the loss takes logits of another form.
        """
        if self.name not in LOSSES:
            raise NoSensitivity("--loss", f"nothing is known of a loss {self.name!r}", f"choose {', '.join(LOSSES)}")
        if not (0 < self.tau < math.inf and 0 < self.floor < math.inf):
            raise NoSensitivity("--tau", "it is not a positive number", "give a positive number")
        each, text = LOSSES[self.name](self, channels)
        shared = positions if self.name != "tau-bce" else positions * channels
        # The mean of n terms, each of logits of its own: their gradients are orthogonal.
        value = each if shared == 1 else directed.div(each, math.nextafter(math.sqrt(shared), 0.0))
        return value, text if shared == 1 else f"{text} / sqrt({shared})"


def _several(loss: Loss, channels: int) -> None:
    if channels < 2:
        raise NoSensitivity("--loss", f"{loss.name} needs two logits or more, there is {channels}", "choose tau-bce")


def _cross_entropy(loss: Loss, channels: int) -> tuple[float, str]:
    """The gradient of tau z is tau (softmax - one-hot), whose two parts sum to 1 each."""
    _several(loss, channels)
    return directed.mul(loss.tau, directed.sqrt(2.0)), "sqrt(2) tau"


def _tau_cce(loss: Loss, channels: int) -> tuple[float, str]:
    _several(loss, channels)
    return directed.sqrt(2.0), "sqrt(2)"


def _hkr(_loss: Loss, channels: int) -> tuple[float, str]:
    """(1 - alpha) KR + alpha hinge of one logit: slopes 1 - alpha and alpha at most, whatever the margin."""
    if channels != 1:
        what = f"hkr of {channels} logits weighs them by their softmax, whose slope grows with the logits"
        raise NoSensitivity("--loss", what, "use it with one logit, or choose tau-cce")
    return 1.0, "1"


def _tau_bce(_loss: Loss, _channels: int) -> tuple[float, str]:
    """Cross-entropy of tau z against a label in [0, 1], divided by tau: sigmoid less label."""
    return 1.0, "1"


def _cosine(loss: Loss, channels: int) -> tuple[float, str]:
    """1 - z_y / max(|z|, floor)."""
    _several(loss, channels)
    return directed.div(1.0, loss.floor), "1 / floor"


LOSSES: dict[str, Callable[[Loss, int], tuple[float, str]]] = {
    "cross-entropy": _cross_entropy,
    "tau-cce": _tau_cce,
    "tau-bce": _tau_bce,
    "hkr": _hkr,
    "cosine": _cosine,
}
"""The losses with a constant."""
