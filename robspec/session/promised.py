"""What is asked of the training, against the model's card: what follows from that is proved, the rest on trust."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from robspec import extras
from robspec.errors import MissingExtra
from robspec.ir.print import privacy_text
from robspec.ir.types import Privacy
from robspec.lipschitz import directed
from robspec.models.loading import LoadedModel
from robspec.privacy.accountant import RELATION, epsilon, within_reach
from robspec.privacy.errors import UnusableCard
from robspec.privacy.promise import ROUNDING, Promise, proved_multiplier, read
from robspec.semantics.norm import directed_text
from robspec.verify.result import PrivacyResult, Verdict

_WIDER = 1.02
"""Versions of the accountant differ by less."""


def decide(asked: Privacy, model: Path, loaded: LoadedModel) -> PrivacyResult:
    """Compare what is asked with what follows from the card's noise, steps and probability.

    Args:
        asked: the requirement.
        model: the model file, beside which its card lies.
        loaded: the same, loaded.

    Returns:
        PROVED where the accountant's upper bound is at most what is asked, else UNKNOWN.

    Raises:
        NoCard: E0510.
        CardOfAnother: E0511.
        UnusableCard: E0512, the card contradicts itself, the graph or its log.
        NoSensitivity: E0508, a gradient has no bound.
        MissingExtra: E0870, the card is about a larger delta, and no accountant is installed.
    """
    promise = read(model, loaded.sha256)
    sigma = proved_multiplier(promise, loaded.program)
    again = not extras.missing("private")
    if again:
        bound, reason = _computed(asked, promise, sigma)
    else:
        bound = _told(asked, promise)
        reason = (
            f"the card says so at delta {float(promise.delta):g}; dp-accounting is not installed to compute it again"
        )
    met = bound is not None and Fraction(bound) <= asked.epsilon
    if bound is not None and not met:
        reason += "; that bounds epsilon from above, so that it may be smaller, and nothing is refuted"
    return PrivacyResult(
        asked=asked,
        verdict=Verdict.PROVED if met else Verdict.UNKNOWN,
        epsilon=bound,
        reason=reason,
        card=str(promise.path),
        facts=f"{promise.steps} steps, each of a {_sampled(promise)} and with noise of {sigma:.6g} times what one "
        f"sample can change; {RELATION}, {promise.unit}",
        proved=_proved(again=again),
        trusted=_trusted(promise, again=again),
        again=again,
    )


def _sampled(promise: Promise) -> str:
    return f"Poisson sample with probability {promise.q:.6g}"


def _computed(asked: Privacy, promise: Promise, sigma: float) -> tuple[float | None, str]:
    if not within_reach(sigma, promise.q, promise.steps):
        return None, "epsilon is not computed: so little noise, or so many steps, hide nothing worth the work"
    bound = epsilon(sigma, promise.q, promise.steps, directed.floor_float(asked.delta))
    if asked.delta == promise.delta and bound > promise.epsilon * _WIDER:
        raise UnusableCard(
            str(promise.path),
            f"it says epsilon {promise.epsilon:.6g}, and its own steps come to {bound:.6g}",
            "train anew, or ask for what its steps come to",
        )
    return bound, "computed again by dp-accounting from the steps, the noise and the sensitivities of the graph"


def _told(asked: Privacy, promise: Promise) -> float:
    """The card's own epsilon, which holds at every larger delta as well."""
    if promise.delta > asked.delta:
        here, there = float(asked.delta), float(promise.delta)
        raise MissingExtra(
            privacy_text(asked),
            f"the card is about delta {there:g}, and what that is at {here:g} takes dp-accounting",
            f"pip install 'robspec[private]', or ask for epsilon at delta {there:g}",
        )
    return promise.epsilon


def _proved(*, again: bool) -> tuple[str, ...]:
    found = "the sensitivity of every trained parameter, from the graph, for all weights within the card's envelope"
    layers = "that all parameters of a step are one Gaussian mechanism of that multiplier"
    steps = "epsilon of the steps, as dp-accounting bounds it from above in floating point"
    return (found, layers, *((steps,) if again else ()))


def _trusted(promise: Promise, *, again: bool) -> tuple[str, ...]:
    log = "lies beside the card and is the one it names" if promise.log else "is not here; the card names its digest"
    bound = directed_text(Fraction(promise.input_bound), 6, up=True)
    return (
        f"the training log, which {log}: no model shows how many steps it was trained for, nor with what noise",
        f"that each sample was drawn by itself and brought to a norm of {bound} at the first trained layer, that its "
        f"loss was {promise.loss.name}, and that weights were brought back into the envelope after each step",
        f"that {ROUNDING[promise.rounding]}",
        "that no other outcome of training on these images was looked at, as every one adds to epsilon",
        *(() if again else ("epsilon itself, which the card gives",)),
    )
