"""Margins, constants and budgets of any size: no certified value is better than exact rationals allow."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robspec.bounds import open_bound
from robspec.bounds.context import Coarse, Context
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.knapsack import backends
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L1, L2, LINF, Norm
from tests.bounds.language import metric

SIZES = ["1e-320", "1e-300", "1e-170", "1e-155", "1e-38", "1", "1e38", "1e100", "1e149"]
sizes = st.sampled_from(SIZES)
SIDE = 3
F = Fraction


def flips(costs: list[Fraction], limit: Fraction, norm: Norm) -> int:
    """How many items one attack can pay for, cheapest first; in linf each by itself."""
    if norm == LINF:
        return sum(cost <= limit for cost in costs)
    spent, count = Fraction(0), 0
    for cost in sorted(costs):
        spent += cost
        if spent > limit:
            break
        count += 1
    return count


def cost(margin: Fraction, norm: Norm) -> Fraction:
    """MATH.md section 2: d in l1, d^2 / 2 in l2, d / 2 in linf."""
    return {L1: margin, L2: margin * margin / 2, LINF: margin / 2}[norm]


@pytest.mark.parametrize("norm", [L1, L2, LINF], ids=str)
@pytest.mark.parametrize("name", ["cpu", "reference"])
class TestAccuracy:
    """MATH.md section 3, A, in exact rationals."""

    @given(
        seed=st.integers(0, 10**6),
        scales=st.lists(sizes, min_size=1, max_size=3),
        constant=sizes,
        share=st.sampled_from(["0", "1/1000000", "1/3", "1", "3", "1000000"]),
    )
    def test_no_flip_is_forgotten(
        self, name: str, norm: Norm, seed: int, scales: list[str], constant: str, share: str
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(1, 2, SIDE, SIDE, generator=generator, dtype=torch.float64)
        chosen = torch.randint(0, len(scales), (1, 1, SIDE, SIDE), generator=generator)
        logits *= torch.tensor([float(s) for s in scales], dtype=torch.float64)[chosen]
        labels = logits.argmax(1)
        margins = [abs(Fraction(float(a)) - Fraction(float(b))) for a, b in zip(*logits[0].flatten(1), strict=True)]
        costs = [cost(margin, norm) for margin in margins]
        proved = Constant(Fraction(constant), norm, norm, ConstantStatus.PROVED)
        # A budget that pays for some of them: in the neighbourhood of the margins.
        eps = Fraction(share) * Fraction(scales[0]) / Fraction(constant)
        reach = proved.value * eps
        exact = flips(costs, reach**2 if norm == L2 else reach, norm)
        bound = open_bound(metric("pixel_accuracy", 2), Context(backends()[name], logits, labels, None), proved)
        ((found,),) = bound.worst_case([eps])
        assert found is not None
        assert found <= 1 - Fraction(exact, SIDE * SIDE)

    @given(seed=st.integers(0, 10**6), scales=st.lists(sizes, min_size=1, max_size=2), constant=sizes)
    def test_no_radius_is_too_large(self, name: str, norm: Norm, seed: int, scales: list[str], constant: str) -> None:
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(1, 2, SIDE, SIDE, generator=generator, dtype=torch.float64)
        chosen = torch.randint(0, len(scales), (1, 1, SIDE, SIDE), generator=generator)
        logits *= torch.tensor([float(s) for s in scales], dtype=torch.float64)[chosen]
        labels = logits.argmax(1)
        margins = [abs(Fraction(float(a)) - Fraction(float(b))) for a, b in zip(*logits[0].flatten(1), strict=True)]
        proved = Constant(Fraction(constant), norm, norm, ConstantStatus.PROVED)
        bound = open_bound(metric("pixel_accuracy", 2), Context(backends()[name], logits, labels, None), proved)
        ((radius,),) = bound.radius([[Fraction(1, 2)]], strict=False)
        assert radius is not None
        cheapest = sorted(cost(margin, norm) for margin in margins)[:5]
        enough = max(cheapest) if norm == LINF else sum(cheapest, Fraction(0))
        if radius != float("inf"):
            reach = proved.value * Fraction(radius)
            assert (reach**2 if norm == L2 else reach) <= enough


@pytest.mark.parametrize("name", ["cpu", "reference"])
@pytest.mark.parametrize("taps", [F(1, 4), F(1), F(512)])
def test_pixels_that_are_larger_than_their_nodes_are_not_out_of_reach(name: str, taps: Fraction) -> None:
    """Sums of 16 nodes, 2^13 times as large: where squares of margins overflow no pixel would seem to be paid for."""
    side, span = 7, 4
    lines = [[{o + t: w for t in range(span)} for o in range(side - span + 1)] for w in (taps, F(1))]
    grid = Grid(*(Axis.of(rows, side) for rows in lines))
    gain = 16 * taps
    seen = 0
    for size in (2.0**480, 2.0**486.9, 2.0**490, 2.0**498, 2.0**500):
        logits = torch.full((1, 2, side, side), size, dtype=torch.float64)
        logits[:, 1] *= -1
        context = Context(backends()[name], Coarse(logits, grid, lambda z: z), torch.zeros((1, 4, 4), dtype=int), 255)
        (usable,) = context.finite()
        assert usable == (max(gain, F(1)) * F(size) <= F(2) ** 500)
        # All coarse logits at 0: every pixel is level.
        reach = F(size) * 10
        assert reach**2 >= F(size) ** 2 * 2 * side**2
        moved = Constant(reach * gain * 4, L2, L2, ConstantStatus.PROVED, coarse=reach)
        if usable:
            ((worst,),) = open_bound(metric("pixel_accuracy", 2), context, moved).worst_case((F(1),))
            assert worst == 0
            seen += 1
    assert seen >= 1
