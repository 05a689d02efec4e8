"""What rounding may change: random networks against sixty digits, rules by hand, and every operation named."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from robspec.lipschitz.rounding import rulebook
from robspec.lipschitz.rounding.cache import cached
from robspec.lipschitz.rounding.charge import length
from robspec.lipschitz.rounding.errors import NoRoundingRule
from robspec.lipschitz.rounding.precision import DOUBLE, SINGLE
from robspec.lipschitz.rounding.recursion import Box, Rounding, bound
from robspec.lipschitz.rulebook import table
from tests.examples import examples
from tests.property.random_rounding import draw, network, ratios

BOX = Box((0.5, 0.5), (0.5, 0.5), (0.0, 0.0))
WITHOUT_RULE = {
    "rule": {"baddbmm", "instance_norm", "expand_as", "view_as", "reshape_as", "type_as"},
    "squares": {"pow", "square", "sqrt", "float_power"},
}
"""What docs/explanation/arithmetic.md names as having a constant and no bound on its rounding."""
REFUSED = {"layer_norm", "exp", "argmax"}


class Wrapped(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def exported(function: Callable[[torch.Tensor], torch.Tensor]) -> torch.export.ExportedProgram:
    module = function if isinstance(function, nn.Module) else Wrapped(function)
    shapes = {0: torch.export.Dim("batch", min=1, max=64)}
    return torch.export.export(module.eval(), (torch.zeros(2, 2, 4, 4),), dynamic_shapes=(shapes,))


def bounds(function: Callable[[torch.Tensor], torch.Tensor], box: Box = BOX) -> dict[str, Rounding]:
    return {r.precision: r for r in bound(exported(function), box, (DOUBLE, SINGLE))}


@pytest.mark.parametrize("seed", range(examples(24)))
def test_no_random_network_is_further_from_sixty_digits_than_is_proved(seed: int) -> None:
    random = np.random.default_rng(1_000_000 + seed)
    net = network(random)
    with torch.no_grad():
        draw(net, random)
    try:
        found = ratios(net, random)
    except NoRoundingRule as refusal:
        if "may overflow float32" not in refusal.what:
            raise
        pytest.skip("weights of this size may overflow float32")
    assert max(found.values()) <= 1.0


def test_sums_come_near_their_bound() -> None:
    """A bound that nothing comes near would hide a missing factor: two products reach a third of theirs."""
    layer = nn.Conv2d(2, 1, 1, bias=False)
    most = 0.0
    for seed in range(200):
        random = np.random.default_rng(seed)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(random.normal(size=(1, 2, 1, 1)).astype(np.float32)))
        image = torch.from_numpy(random.random((1, 2, 4, 4)).astype(np.float32))
        wanted = (image.double() * layer.weight.detach().double()).sum(1)
        with torch.no_grad():
            got = layer(image).double()[:, 0]
        weights = layer.weight.detach().double().abs()
        each = SINGLE.gamma(2) * (image.double() * weights).sum(1)
        most = max(most, float((got - wanted).norm() / each.norm()))
        assert most <= 1.0
    assert most > 0.25


def test_a_convolution_by_hand() -> None:
    """Two inputs, one product each, no bias: gamma_6 |W| |x|, and six smallest numbers for each of 16 entries."""
    layer = nn.Conv2d(2, 2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, -4.0]]).reshape(2, 2, 1, 1))
    found = bounds(layer)["float64"]
    (given, line) = found.lines
    least = Fraction(4) * Fraction(DOUBLE.gamma(6)) * Fraction(math.sqrt(32) * (1 - 1e-12))
    assert (given.added, line.error) == (0.0, found.delta)
    assert least <= Fraction(found.delta) <= least * Fraction(1.00001)


FACTOR = torch.tensor([1.0, 0.3])
SUMS: dict[str, tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], int, float]] = {
    "of data alone": (lambda x, k: torch.einsum("bchw,k->bk", x, k), 8192, 8192.0),
    "of the constant alone": (lambda x, k: torch.einsum("bchw,kl->bchw", x, k.repeat(3, 1)), 6, 3 * 6.0),
    "of both": (lambda x, k: torch.einsum("bchw,c->bhw", x, k), 2, 1.0),
    "of a side of one": (lambda x, k: torch.tensordot(x, k.reshape(1, 2), dims=([3], [0])), 64, 64.0),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_over_named_dimensions_count_all_that_they_add(name: str) -> None:
    """|W| is at most the root of what is summed besides the constant's entries, times their Frobenius norm."""
    function, terms, repeated = SUMS[name]
    shapes = {0: torch.export.Dim("batch", min=1, max=64)}
    module, image = Wrapped(lambda x: function(x, FACTOR)), torch.zeros(2, 2, 64, 64)
    program = torch.export.export(module.eval(), (image,), dynamic_shapes=(shapes,))
    found = {r.precision: r for r in bound(program, BOX, (DOUBLE, SINGLE))}
    weight = math.sqrt(repeated * (1.0 + 0.09) * 8192)
    assert found["float64"].delta == pytest.approx(DOUBLE.gamma(terms + 4) * weight, rel=1e-4)
    image = torch.rand(1, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    off = (function(image, FACTOR).double() - function(image.double(), FACTOR.double())).norm()
    assert 0 < float(off) <= found["float32"].delta


def test_what_selects_orders_and_repeats_adds_nothing() -> None:
    def rearranged(x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, 1)
        joined = torch.cat([torch.maximum(first, second), -torch.minimum(first, second)], 1)
        return functional.relu(functional.pad(joined, [1, 1, 0, 0]).flip(-1)).permute(0, 1, 3, 2)

    assert {r.delta for r in bounds(rearranged).values()} == {0.0}


def test_a_residual_block_is_bounded_as_one() -> None:
    """Behind x - 2 W relu(W'x) with orthogonal W, errors of the image pass once and not three times."""
    angle = torch.tensor([[0.6, -0.8], [0.8, 0.6]]).reshape(2, 2, 1, 1)

    def block(x: torch.Tensor) -> torch.Tensor:
        for _ in range(6):
            x = x - 2.0 * functional.conv2d(functional.relu(functional.conv2d(x, angle)), angle.transpose(0, 1))
        return x

    given = Box((0.5, 0.5), (0.5, 0.5), (1e-6, 1e-6))
    found = bounds(block, given)["float64"]
    entering = 1e-6 * math.sqrt(32)
    assert entering <= found.delta <= 1.001 * entering


def test_a_function_that_may_overflow_is_refused_by_name() -> None:
    with pytest.raises(NoRoundingRule, match=r"conv2d.*may overflow float32"):
        bounds(lambda x: functional.conv2d(x, torch.full((1, 2, 1, 1), 1e20)))


def test_a_gate_of_squares_is_refused_by_name() -> None:
    with pytest.raises(NoRoundingRule, match=r"the rounding error of (sqrt|pow|sum|add)"):
        bounds(lambda x: torch.sqrt((x**2).sum(1, keepdim=True) + 1.0))


def test_every_operation_with_a_constant_has_a_rule_of_rounding_or_is_named() -> None:
    refusing = {name for name, rule in table().items() if rule.bound.__module__.endswith(".refused")}
    assert refusing >= REFUSED
    missing = set(table()) - refusing - set(rulebook.table())
    assert missing == set().union(*WITHOUT_RULE.values())
    assert not set(rulebook.table()) - set(table())


def test_the_length_of_what_is_tiny_or_huge() -> None:
    for size in (1e-300, 1e-160, 1.0, 1e160, 1e300):
        exact = mpmath.sqrt(3 * mpmath.mpf(size) ** 2 + mpmath.mpf(size / 7) ** 2)
        found = length(torch.tensor([size, -size, size, size / 7], dtype=torch.float64))
        assert exact <= found <= exact * (1 + mpmath.mpf("1e-5"))
    assert length(torch.zeros(3, dtype=torch.float64)) == 0.0
    assert length(torch.empty(0, dtype=torch.float64)) == 0.0
    assert length(torch.tensor([math.inf], dtype=torch.float64)) == math.inf


def test_nearest_pixels_that_differ_between_types_are_refused() -> None:
    sizes = [(a, b) for a in range(40, 64) for b in range(100, 160) if _moves(a, b)]
    assert sizes, "none found: the search of this test is too narrow"
    side, outputs = sizes[0]
    shapes = {0: torch.export.Dim("batch", min=1, max=64)}
    module = Wrapped(lambda x: functional.interpolate(x, size=(outputs, 3), mode="nearest"))
    program = torch.export.export(module, (torch.zeros(2, 2, side, 3),), dynamic_shapes=(shapes,))
    with pytest.raises(NoRoundingRule, match="differ between float32 and float64"):
        bound(program, BOX)


def _moves(side: int, outputs: int) -> bool:
    ramp = torch.arange(side, dtype=torch.float64).reshape(1, 1, side, 1)
    single = functional.interpolate(ramp.float(), size=(outputs, 1), mode="nearest").double()
    return not torch.equal(functional.interpolate(ramp, size=(outputs, 1), mode="nearest"), single)


def test_a_bound_is_kept_for_exactly_its_graph_and_its_images(tmp_path: Path) -> None:
    layer = nn.Conv2d(2, 2, 1)
    program, box = exported(layer), BOX
    first = cached(program, box, directory=tmp_path)
    (entry,) = tmp_path.iterdir()
    assert cached(program, box, directory=tmp_path) == first
    assert [first] == bound(program, box)
    wider = cached(program, Box((0.5, 0.5), (1.5, 0.5), (0.0, 0.0)), directory=tmp_path)
    assert wider.delta > first.delta
    other = nn.Conv2d(2, 2, 1)
    other.load_state_dict({name: 2.0 * value for name, value in layer.state_dict().items()})
    assert cached(exported(other), box, directory=tmp_path).delta > first.delta
    assert len(list(tmp_path.iterdir())) == 3
    entry.write_text(entry.read_text().replace("0x1", "0x0", 1))
    assert cached(program, box, directory=tmp_path) == first


def test_a_float64_program_in_float32_is_rounded_to_float32() -> None:
    """What its graph says of float64 is its own type, not one that it was widened to."""
    program = torch.export.export(nn.Conv2d(2, 2, 1).double(), (torch.zeros(2, 2, 4, 4, dtype=torch.float64),))
    wide, narrow = bound(program, BOX, (DOUBLE, SINGLE))
    assert narrow.delta > 2**28 * wide.delta


def test_what_is_added_before_a_sorting_activation_is_not_counted_four_times() -> None:
    """Behind a shift the constant of what follows holds, though it is known from the unshifted value."""

    class Shifted(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first, second = (x + torch.arange(32.0).reshape(2, 4, 4)).chunk(2, 1)
            return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], 1)

    found = bounds(Shifted())["float32"]
    added = sum(line.added for line in found.lines)
    assert 0 < found.delta <= added * 1.001


class Under(nn.Module):
    """Half of the channels goes past layers of the other half: nothing under it is narrow."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(4, 4, 1, bias=False) for _ in range(layers))
        for layer in self.layers:
            nn.init.orthogonal_(layer.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        past = under = x.repeat(1, 2, 1, 1)
        for layer in self.layers:
            under = layer(under)
            first, second = under.chunk(2, 1)
            under = torch.cat([torch.maximum(first, second), torch.minimum(first, second)], 1)
            under = under + 0.25 * torch.relu(-under)
        return torch.cat([past, under], 1)


def test_what_happens_under_a_skip_connection_is_counted_once() -> None:
    """A layer there multiplies errors and numbers by 1.25 at most; each way for itself, errors by 5."""
    few, many = (bounds(Under(layers))["float64"].delta for layers in (1, 9))
    assert few < many < few * 9 * 1.25**9 * 4 < few * 5**9 / 1000
    random = np.random.default_rng(0)
    net = Under(9).eval()
    delta = bounds(net)["float64"].delta
    image = torch.from_numpy(random.random((1, 2, 4, 4)))
    with torch.no_grad():
        near = net.double()(image)
    weights = [np.array([[Fraction(v) for v in row] for row in w.weight[:, :, 0, 0].tolist()]) for w in net.layers]
    pixels = np.array([[Fraction(v) for v in row] for row in image[0].reshape(2, -1).tolist()])
    past = under = np.concatenate([pixels, pixels])
    for weight in weights:
        under = weight @ under
        under = np.concatenate([np.maximum(under[:2], under[2:]), np.minimum(under[:2], under[2:])])
        under = under + np.maximum(-under, 0) / 4
    wanted = np.concatenate([past, under]).reshape(-1)
    error = sum((Fraction(a) - b) ** 2 for a, b in zip(near.reshape(-1).tolist(), wanted.tolist(), strict=True))
    assert 0 < error <= Fraction(delta) ** 2
