"""What a run costs in (epsilon, delta): one Gaussian mechanism on Poisson samples, composed over its steps."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from fractions import Fraction

from robspec import extras
from robspec.lipschitz import directed
from robspec.privacy.errors import NoBudget

RELATION = "add or remove one sample"
"""What two data sets differ by that the noise must hide."""
POISSON = "Poisson"
"""Each sample is drawn by itself in each step."""
_CLOSE = 0.98
"""What share of its target a calibrated run spends at least, unless the search ends first."""
_TRIES = 16
_MOST = 1e6
_LEAST_NOISE, _MOST_STEPS, _MOST_LOSS = 0.1, 10**7, 150.0
"""Beyond these the accountant's tables grow without bound, epsilon says nothing any more, and what drawn numbers
are off by would count."""


def effective(sigmas: Iterable[float]) -> float:
    """Join layers that get noise of their own in one step into one Gaussian mechanism.

    Args:
        sigmas: of each layer, the standard deviation of its noise divided by its sensitivity, > 0.

    Returns:
        (sum sigma^-2)^(-1/2), rounded down: sigma / sqrt(D) for D equal ones.

    Source: PRIVACY.md.
    """
    inverse = directed.sqrt(
        directed.add(*(directed.div(1.0, directed.floor_float(Fraction(s) ** 2)) for s in sigmas))
    )
    return math.nextafter(1.0 / inverse, 0.0)


@functools.lru_cache(maxsize=256)
def epsilon(sigma: float, q: float, steps: int, delta: float) -> float:
    """Bound epsilon of a number of steps, each a Gaussian mechanism on a Poisson sample.

    Args:
        sigma: effective noise multiplier of all layers of one step.
        q: probability with which each sample is drawn, in (0, 1].
        steps: how many, each with a draw of its own.
        delta: in (0, 1).

    Returns:
        Epsilon for adding or removing one sample, as dp-accounting's privacy loss distributions bound it from above;
        0 for no steps, infinity where the work would be beyond bounds.

    Raises:
        NoBudget: E0509, a number that cannot be.
        MissingExtra: E0870, dp-accounting is not installed.
    """
    if not (0 < sigma < math.inf and 0 < q <= 1 and steps >= 0 and 0 < delta < 1):
        what = f"sigma {sigma:g}, q {q:g}, {steps} steps and delta {delta:g} do not describe a run"
        raise NoBudget("the accountant", what, "sigma > 0, 0 < q <= 1 and 0 < delta < 1")
    if steps == 0:
        return 0.0
    if not within_reach(sigma, q, steps):
        return math.inf
    extras.require("private", "accounting of privacy")
    import dp_accounting
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    step = dp_accounting.PoissonSampledDpEvent(q, dp_accounting.GaussianDpEvent(sigma))
    accountant.compose(dp_accounting.SelfComposedDpEvent(step, steps))
    # A last bit on each side: more than what drawn numbers are off by, were there 2^50 of them.
    return math.nextafter(float(accountant.get_epsilon(math.nextafter(delta, 0.0))), math.inf)


def within_reach(sigma: float, q: float, steps: int) -> bool:
    """Tell whether the accountant can be asked in bounded time and memory; estimated, and no statement on epsilon.

    Args:
        sigma: see `epsilon`.
        q: see `epsilon`.
        steps: see `epsilon`.

    Source: the central limit of noisy gradient descent, Bu, Dong, Long and Su 2020: with mu = q sqrt(T (e^(1/sigma^2)
    - 1)) a privacy loss of about mu^2 / 2, and a deviation of mu.
    """
    if not (sigma >= _LEAST_NOISE and steps <= _MOST_STEPS):
        return False
    mu = q * math.sqrt(steps * math.expm1(sigma**-2))
    return mu * mu / 2 + 10 * mu <= _MOST_LOSS


def calibrated(target: float, q: float, steps: int, delta: float) -> float:
    """Find a noise multiplier that keeps a run within its target.

    Args:
        target: epsilon, > 0.
        q: see `epsilon`.
        steps: see `epsilon`.
        delta: see `epsilon`.

    Returns:
        An effective multiplier at which `epsilon` is at most the target, and as a rule 98 % of it or more.

    Raises:
        NoBudget: E0509, no noise in reach is enough.
    """
    sigma, tried = 1.0, {}
    for _ in range(_TRIES):
        tried[sigma] = epsilon(sigma, q, steps, delta)
        kept = [s for s, found in tried.items() if found <= target]
        if kept and tried[min(kept)] >= _CLOSE * target:
            break
        short = [s for s, found in tried.items() if found > target]
        if kept and short:
            sigma = math.sqrt(min(kept) * max(short))
        else:  # the product of both changes slowly: a guess on the safe side is soon on the other side of the target
            sigma = min(_MOST, max(sigma / 4, min(4 * sigma, sigma * 1.003 * tried[sigma] / target)))
    kept = [s for s, found in tried.items() if found <= target]
    if not kept:
        what = f"no noise in reach keeps {steps} steps within epsilon {target:g} at delta {delta:g}"
        raise NoBudget("[privacy]", what, "train fewer steps, or allow more")
    return min(kept)
