"""What a card promises of the training of its model, read with suspicion and worked out again."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from robspec.function.program import AnyProgram
from robspec.lipschitz import directed
from robspec.models import card
from robspec.models.inspect import read_file
from robspec.privacy.accountant import POISSON, RELATION, effective
from robspec.privacy.asked import Envelope
from robspec.privacy.errors import CardOfAnother, NoCard, UnusableCard
from robspec.privacy.ledger import NAME as LOG
from robspec.privacy.losses import Loss
from robspec.privacy.sensitivity import ALLOWANCE, sensitivity

_TRAIN = "train with a section [privacy], and keep card and model as they were written"
PROVED, TRUSTED = "proved", "trusted"
ROUNDING = {
    PROVED: "an image, its label and the weights alone decide which gradient is computed of it, as float64 adds up "
    "integers below 2^53 exactly in any order, and that the operating system's bytes are random",
    TRUSTED: f"sums of gradients in float32 exceed the bounds of samples by less than {ALLOWANCE - 1:.1%}, "
    "whatever the batch",
}
"""What of the arithmetic is on trust, by how a run rounded; it was trusted by earlier versions alone."""
_AGREE = 1 + 1e-9
"""Noise and multiplier were rounded one after the other when the card was written."""
_MOST_LAYERS = 100_000
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class Promise:
    """The private training that a card tells of.

    Args:
        path: the card.
        epsilon: as the card gives it.
        delta: what that is at, the decimal that is written.
        unit: what one sample is.
        sigma: effective noise multiplier of one step.
        q: probability with which each sample is drawn.
        steps: charged.
        input_bound: l2 norm of what the first trained layer reads.
        envelope: what the weights were kept within.
        loss: what was minimised.
        noise: standard deviation by parameter, on the sum of gradients.
        rounding: a key of `ROUNDING`.
        log: whether the training log lies beside the card and is the one it names.
    """

    path: Path
    epsilon: float
    delta: Fraction
    unit: str
    sigma: float
    q: float
    steps: int
    input_bound: float
    envelope: Envelope
    loss: Loss
    noise: dict[str, float]
    rounding: str
    log: bool


def read(model: Path, sha256: str) -> Promise:
    """Read the card of a model.

    Args:
        model: the model file.
        sha256: of its bytes.

    Returns:
        What it promises; nothing of it is shown to be so.

    Raises:
        NoCard: E0510.
        CardOfAnother: E0511.
        UnusableCard: E0512.
    """
    known = list(card.documents(model))
    for path, found in known:
        if _digest(found) == sha256:
            return _promise(path, found)
    for path, found in known:
        if _digest(found):
            what = f"it is the card of a model with the SHA-256 {_digest(found)[:16]}, and this is {sha256[:16]}"
            raise CardOfAnother(str(path), what, f"put the card of {model.name} beside it")
    if known:
        raise UnusableCard(str(known[0][0]), "it is no card of a model", _TRAIN)
    what = "the specification asks for privacy, and no card says how this model was trained"
    raise NoCard(str(model), what, f"put its card.json into {model.parent}, as `robspec train` wrote it")


def _digest(found: Any) -> str:
    about = found.get("model") if isinstance(found, dict) else None
    return str(about.get("sha256") or "") if isinstance(about, dict) else ""


def _promise(path: Path, found: dict[str, Any]) -> Promise:
    entry = found.get("privacy")
    if not isinstance(entry, dict):
        raise UnusableCard(str(path), "it tells of no private training", _TRAIN)
    if entry.get("relation") != RELATION:
        said = str(entry.get("relation"))[:64]
        what = f"it protects against another change of the data, {said!r}, and not: {RELATION}"
        raise UnusableCard(str(path), what, _TRAIN)
    try:
        sampling, loss, envelope = entry["sampling"], entry["loss"], entry["envelope"]
        if sampling["kind"] != POISSON:
            raise ValueError("sampling.kind")
        layers = entry["layers"]
        if not 0 < len(layers) <= _MOST_LAYERS:
            raise ValueError("layers")
        return Promise(
            path=path,
            epsilon=_number(entry["epsilon"], "epsilon", zero=True),
            delta=Fraction(repr(_number(entry["delta"], "delta", most=1.0))),
            unit="".join(c for c in str(entry.get("unit", "one sample"))[:80] if c.isprintable()),
            sigma=_number(entry["noise_multiplier"], "noise_multiplier"),
            q=_number(sampling["probability"], "sampling.probability", most=1.0),
            steps=_steps(entry["steps_charged"]),
            input_bound=_number(entry["input_bound"], "input_bound"),
            envelope=Envelope(
                _number(envelope["operator"], "envelope.operator"),
                _number(envelope["shift"], "envelope.shift", zero=True),
            ),
            loss=Loss(str(loss["kind"]), _number(loss["tau"], "loss.tau")),
            noise={str(row["parameter"]): _number(row["noise"], "noise") for row in layers},
            # Cards from before this was said trusted it.
            rounding=PROVED if entry.get("rounding") == PROVED else TRUSTED,
            log=_log(path, entry["training_log"], entry["steps_charged"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnusableCard(str(path), f"its `privacy` has no usable {str(error)[:60]}", _TRAIN) from error


def _number(value: object, name: str, most: float = math.inf, *, zero: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(name)
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(name) from None
    if not (0 <= number < math.inf and number <= most and (zero or number > 0)):
        raise ValueError(name)
    return number


def _steps(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError("steps_charged")
    return value


def _log(path: Path, entry: Any, steps: object) -> bool:
    """Compare the training log with its digest, where it lies beside the card; it is kept from most readers."""
    wanted, log = str(entry["sha256"]), path.parent / LOG
    if not log.is_file():
        return False
    content = read_file(log)
    if hashlib.sha256(content).hexdigest() != wanted:
        raise UnusableCard(
            str(log),
            f"it is not the training log that {path.name} names: steps were taken since, or it was altered",
            "put the log of this model in its place, or check the model in a folder without one",
        )
    charged = json.loads(content)["charged"]
    if charged != steps:
        what = f"it charges {str(charged)[:20]} steps, and {path.name} tells of {steps}"
        raise UnusableCard(str(log), what, "check the model with the card that was written for it")
    return True


def proved_multiplier(promise: Promise, program: AnyProgram) -> float:
    """Work out the noise multiplier of a step from the noise and from sensitivities proved of the model's graph.

    Args:
        promise: of the model's card.
        program: the model as it was loaded.

    Returns:
        The effective multiplier of all parameters of a step, rounded down; never above the card's.

    Raises:
        UnusableCard: E0512, the card names other parameters than the graph, less noise than its multiplier takes, or
            bounds that the weights do not keep.
        NoSensitivity: E0508, a gradient has no bound.
    """
    where = str(promise.path)
    table = sensitivity(program, promise.loss, promise.input_bound, promise.envelope, inner=True)
    stored = sensitivity(program, promise.loss, promise.input_bound, inner=True)
    names = {row.parameter for row in table.rows}
    if names != set(promise.noise):
        odd = sorted(names ^ set(promise.noise))[0]
        raise UnusableCard(where, f"its layers are not those of the model, by {odd[:64]}", _TRAIN)
    for own, bound in zip(stored.rows, table.rows, strict=True):
        if not own.sensitivity <= bound.sensitivity:
            what = f"the weights of {own.parameter} or around it are outside the envelope it names"
            raise UnusableCard(where, what, _TRAIN)
    hidden = [_hidden(promise.noise[row.parameter], row.sensitivity) for row in table.rows if row.sensitivity > 0]
    if not hidden or min(hidden) < _LEAST:
        raise UnusableCard(where, "its noise hides nothing", _TRAIN)
    found = effective(hidden)
    if found * _AGREE < promise.sigma:
        what = f"by the model's graph its noise is a multiplier of {found:.6g}, and it says {promise.sigma:.6g}"
        raise UnusableCard(where, what, _TRAIN)
    return min(found, promise.sigma)


def _hidden(noise: float, sensitivity: float) -> float:
    """By how much noise exceeds what it is to hide, rounded down."""
    return directed.floor_float(Fraction(noise) / Fraction(directed.mul(sensitivity, ALLOWANCE)))
