"""Most frequencies of a large torus left out: never below the largest singular value, and close to it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robspec.lipschitz import definite, pruning, torus
from robspec.lipschitz.norms import operator_norm
from robspec.lipschitz.pruning import _largest, _least, largest_on_torus
from robspec.lipschitz.stencil import Stencil
from robspec.lipschitz.torus import norm_on_torus
from robspec.semantics.norm import L2
from tests.examples import examples
from tests.lipschitz.test_sampling import CLOSE, circle, truth


@pytest.fixture
def pruned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Prunes every torus; how many frequencies are looked at."""
    looked: list[int] = []
    before = pruning._looked_at

    def counting(batches: Any, turns: torch.Tensor, *rest: Any) -> Any:
        looked.append(len(turns))
        return before(batches, turns, *rest)

    monkeypatch.setattr(pruning, "_WORTHWHILE", 0)
    monkeypatch.setattr(pruning, "_looked_at", counting)
    monkeypatch.setattr(torus, "_sampled", lambda *_: None)
    return looked


def kernels(
    seed: int, shape: tuple[int, ...], rows: int, columns: int, kind: str
) -> dict[tuple[int, ...], torch.Tensor]:
    """Kernels of all taps of a box: drawn, smooth ones with one peak, or one that turns fastest at some frequency."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    peak = torch.rand(len(shape), generator=generator, dtype=torch.float64) * 2 * math.pi
    found = {}
    for index in np.ndindex(*shape):
        drawn = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
        if kind == "one peak":
            turn = math.cos(float((peak * torch.tensor(index, dtype=torch.float64)).sum()))
            drawn = first * turn + 1e-3 * drawn
        found[index] = first / (1 + sum(index)) if kind == "smooth" else drawn
    return found


@pytest.mark.usefixtures("pruned")
@settings(max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_singular_value_is_above_the_bound(data: Any) -> None:
    dims = data.draw(st.integers(1, 2))
    shape = tuple(data.draw(st.integers(1, 4 if dims == 2 else 7)) for _ in range(dims))
    sides = tuple(data.draw(st.integers(7, 40 if dims == 2 else 300)) for _ in range(dims))
    rows, columns = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    kind = data.draw(st.sampled_from(["drawn", "one peak", "smooth"]))
    taps = kernels(data.draw(st.integers(0, 2**31)), shape, rows, columns, kind)
    stencil = circle(taps, sides)
    exact = truth(stencil)
    bound = norm_on_torus(stencil)
    assert exact * (1 - 1e-12) <= bound <= exact * (1 + CLOSE)


@pytest.mark.parametrize("kind", ["drawn", "one peak", "smooth"])
def test_a_fiftieth_of_the_frequencies_is_enough(pruned: list[int], kind: str) -> None:
    taps = kernels(5, (3, 3), 6, 5, kind)
    stencil = circle(taps, (254, 254))
    bound = norm_on_torus(stencil)
    assert sum(pruned) < 254 * 254 / 2 / (8 if kind == "drawn" else 12)
    everywhere = torus._family(list(taps), torch.stack([k.T for k in taps.values()]).unsqueeze(1), (254, 254), 1e6, 9)
    grid = torus.half_grid((254, 254))
    assert bound == pytest.approx(math.sqrt(definite.largest_eigenvalue(lambda: everywhere[0](grid), 0.0)), rel=CLOSE)


def test_groups_and_strides_are_those_of_the_whole_torus(pruned: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(9)
    for groups, stride, rows in ((3, 1, 1), (2, 1, 4), (1, 2, 3), (2, 2, 2)):
        offsets = tuple((i, j) for i in range(-1, 2) for j in range(-1, 2))
        weights = torch.randn(9, groups, rows, 3, generator=generator, dtype=torch.float64)
        side = 60
        stencil = Stencil(
            weights,
            offsets,
            (stride,) * 2,
            (side,) * 2,
            (side // stride,) * 2,
            (False,) * 2,
            False,
            (1, 2, 3),
            (1, 2, 3),
        )
        found = norm_on_torus(stencil)
        assert pruned
        with monkeypatch.context() as patch:
            patch.setattr(torus, "_pruned", lambda *_: None)
            assert found == pytest.approx(norm_on_torus(stencil), rel=CLOSE)


def test_an_ordinary_convolution_of_a_large_map_is_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def spying(*args: Any) -> float:
        asked.append(math.prod(args[2]))
        return largest_on_torus(*args)

    monkeypatch.setattr(torus, "largest_on_torus", spying)
    kernel = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    offsets = tuple((i, j) for i in range(-1, 2) for j in range(-1, 2))
    stencil = Stencil(
        torch.stack([kernel[:, :, i + 1, j + 1] for i, j in offsets]).unsqueeze(1),
        offsets,
        (1, 1),
        (512, 512),
        (512, 512),
        (False, False),
        False,
        (1, 2, 3),
        (1, 2, 3),
    )
    assert operator_norm(stencil, L2) > 0
    assert asked == [514 * 514]


@given(st.floats(0, 1), st.floats(0, 4), st.floats(1e-3, 1e3))
def test_what_a_middle_says_is_what_cosines_say(part: float, turn: float, most: float) -> None:
    """For g = S (1 + cos(t)) / 2, which turns as fast as any, a middle at the least just reaches the target."""
    target = part * most
    least = _least(target, most, turn)
    at = math.acos(min(max(2 * part - 1, -1.0), 1.0))
    if at + turn >= math.pi:
        assert least < 0
        return
    steepest = most * (1 + math.cos(at + turn)) / 2
    assert steepest - 1e-5 * most <= least < steepest
    if turn < 3:
        # The largest of all, a turn away from a middle.
        assert most <= _largest(most * (1 + math.cos(turn)) / 2, turn) <= most * (1 + 1e-5)


@pytest.mark.parametrize("turn", np.linspace(0, 2 * math.pi, 40, endpoint=False).tolist())
def test_a_higher_peak_between_middles_is_not_missed(turn: float) -> None:
    """Beside one that a middle meets, and as steep as a polynomial of that degree can be."""
    side, degree, higher = 4096, 3, 1 + 1e-5

    def matrices(frequencies: torch.Tensor) -> Any:
        angles = frequencies[:, 0].double() * (2 * math.pi * degree / side)
        values = ((1, 128 * 2 * math.pi * degree / side), (higher, turn), (higher, -turn))
        # Even as a whole, as the eigenvalues of real kernels are.
        yield torch.diag_embed(torch.stack([size * (1 + (angles - at).cos()) / 2 for size, at in values], 1))

    everywhere = next(iter(matrices(torch.arange(side).reshape(-1, 1))))
    truth = float(everywhere.max())
    bound = largest_on_torus(matrices, (degree,), (side,), 1, 3.0, 0.0)
    assert truth <= bound <= truth * (1 + CLOSE)


def test_what_is_not_finite_has_no_bound(pruned: list[int]) -> None:
    def matrices(frequencies: torch.Tensor) -> Any:
        yield torch.full((len(frequencies), 2, 2), math.nan, dtype=torch.complex128)

    assert largest_on_torus(matrices, (2,), (64,), 1, 1.0, 0.0) == math.inf


@given(st.integers(0, 2**31), st.integers(1, 6), st.floats(-0.5, 0.5))
def test_a_limit_is_passed_by_what_is_below_it_alone(seed: int, size: int, above: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    real = torch.randn(5, size, size, 2, generator=generator, dtype=torch.float64)
    half = torch.view_as_complex(real)
    batch = half @ half.mH
    tops = torch.linalg.eigvalsh(batch)[:, -1]
    passed = definite.at_most(batch, tops * (1 + above), 1e-13)
    assert not bool((passed & (tops * (1 + above) < tops)).any())
    if above > 1e-6:
        assert bool(passed.all())
    assert not bool(definite.at_most(batch, tops * 1.5, float(tops.max())).any())
    assert not bool(definite.at_most(batch, torch.full((5,), -1.0, dtype=torch.float64), 0.0).any())
