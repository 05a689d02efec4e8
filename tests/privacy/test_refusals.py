"""What has no bound is refused by name; the faults of the published implementation, each where it would show."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from robspec import registry
from robspec.errors import RobspecError
from robspec.lipschitz.rulebook import table as constants
from robspec.models.lipnets.activations import MaxMin
from robspec.privacy import rules
from robspec.privacy.asked import Envelope
from robspec.privacy.errors import NoSensitivity
from robspec.privacy.losses import Loss
from robspec.privacy.sensitivity import Sensitivity, sensitivity
from tests.lipschitz.conftest import Export

LOSS = Loss("tau-cce")


class Function(nn.Module):
    """A layer, and something done to what comes out of it."""

    def __init__(self, layer: nn.Module, after: nn.Module | None = None, scale: bool = False) -> None:
        super().__init__()
        self.layer, self.after = layer, after
        self.scale = nn.Parameter(torch.ones(4)) if scale else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        if self.scale is not None:
            x = x * self.scale.abs()
        return x if self.after is None else self.after(x)


class Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(dim=0)


class Divided(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return x / self.scale


class Raised(nn.Module):
    """A trained floor under the data: an operation with a rule, which does not answer for it."""

    def __init__(self) -> None:
        super().__init__()
        self.floor = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, self.floor)


@pytest.mark.parametrize(
    ("model", "code", "named"),
    [
        (Function(nn.Linear(4, 4), Centred()), "E0504", "mean"),
        (Function(nn.Linear(4, 4), nn.BatchNorm1d(4)), "E0508", "statistics of the batch"),
        (Function(nn.Linear(4, 4), nn.Dropout()), "E0508", "while training it is another function"),
        (Function(parametrizations.orthogonal(nn.Linear(4, 4))), "E0508", "layer.parametrizations.weight.original"),
        (Function(nn.Linear(4, 4), scale=True), "E0508", "parameter scale"),
        (Function(nn.Linear(4, 4), Divided()), "E0508", "divides by after.scale"),
        (Function(nn.Linear(4, 4), Raised()), "E0508", "parameter after.floor"),
        (Function(nn.Linear(4, 4), nn.Softplus()), "E0508", "there is no rule"),
        (Function(nn.Linear(4, 4), nn.Softmin(dim=0)), "E0504", "dimension 0"),
        (Centred(), "E0504", "mean"),
        (nn.ReLU(), "E0508", "no trained parameter"),
    ],
)
def test_refused_by_name(model: nn.Module, code: str, named: str, export: Export) -> None:
    with pytest.raises(RobspecError) as found:
        sensitivity(export(model, (4,)), LOSS, 1.0)
    assert found.value.code == code
    assert named in str(found.value)


@pytest.mark.parametrize(
    ("loss", "outputs"), [(Loss("hkr"), 3), (LOSS, 1), (Loss("cosine", floor=0.0), 3), (Loss("l1"), 3)]
)
def test_losses_without_a_constant(loss: Loss, outputs: int, export: Export) -> None:
    with pytest.raises(NoSensitivity):
        sensitivity(export(nn.Linear(4, outputs), (4,)), loss, 1.0)


def test_a_fixed_batch_shows_no_mixing(export: Export) -> None:
    program = torch.export.export(nn.Linear(4, 2), (torch.zeros(2, 4),))
    with pytest.raises(NoSensitivity, match="not dynamic"):
        sensitivity(program, LOSS, 1.0)


def delta(bounds: Sensitivity, name: str) -> float:
    return next(row.sensitivity for row in bounds.rows if row.parameter == name)


def test_published_faults(export: Export) -> None:
    """A convolution counts overlapping windows, a bias on a map its positions, a loss its own constant.

    The largest gradients are met exactly: without the factors they would be 3 and 6 times as large as the bound.
    """
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(36, 1, bias=False)).double()
    nn.init.zeros_(model[0].bias)
    nn.init.ones_(model[2].weight)
    bounds = sensitivity(export(model, (1, 6, 6), dtype=torch.float64), Loss("tau-bce"), 1.0)
    steep = 6.0  # the norm of the last layer, and G before it
    assert delta(bounds, "0.weight") == pytest.approx(steep * 3)
    assert delta(bounds, "0.bias") == pytest.approx(steep * 6)
    image = torch.full((1, 1, 6, 6), -1 / 6, dtype=torch.float64)
    with torch.no_grad():
        model[0].weight.fill_(1e6)
    value = nn.functional.binary_cross_entropy_with_logits(model(image), torch.ones(1, 1, dtype=torch.float64))
    weight, bias = torch.autograd.grad(value, [model[0].weight, model[0].bias])
    assert bias.norm().item() == pytest.approx(36)
    assert 0.75 * steep * 3 < weight.norm().item() <= steep * 3


def test_ties_are_counted_as_automatic_differentiation_resolves_them(export: Export) -> None:
    """The graph of clamp(x, min=0) + clamp(x, max=0) is the identity, but at 0 its gradient comes back twice."""

    class Split(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.clamp(min=0) + x.clamp(max=0)

    model = nn.Sequential(nn.Linear(2, 2), Split(), nn.Linear(2, 2)).double()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    nn.init.eye_(model[2].weight)
    bounds = sensitivity(export(model, (2,), dtype=torch.float64), Loss("cross-entropy", tau=2.0), 1.0)
    value = nn.functional.cross_entropy(2 * model(torch.zeros(1, 2).double()), torch.tensor([0]))
    (found,) = torch.autograd.grad(value, model[0].bias)
    assert found.norm().item() == pytest.approx(2 * 2 * 0.5**0.5)
    assert delta(bounds, "0.bias") == pytest.approx(2 * 2 * 2**0.5)


def test_a_shift_before_maxmin_counts(export: Export) -> None:
    """The parts that MaxMin orders are of the shifted value, not of what was shifted."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), _Shift(3.0), MaxMin(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
    bounds = sensitivity(export(model, (2,), dtype=torch.float64), LOSS, 1.0)
    assert bounds.rows[1].parameter == "3.weight"
    assert bounds.rows[1].size == pytest.approx(1 + 3 * 2**0.5)


class _Shift(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x + self.by


def test_an_envelope_stands_for_every_weight_within_it(export: Export) -> None:
    model = nn.Sequential(nn.Linear(4, 4), MaxMin(), nn.Linear(4, 2))
    program = export(model, (4,))
    bounds = sensitivity(program, LOSS, 2.0, Envelope(1.0, 0.5))
    assert [row.size for row in bounds.rows] == pytest.approx([2.0, 2.0, 2.5, 2.5])
    assert [row.gradient for row in bounds.rows] == pytest.approx([2**0.5] * 4)


def test_a_parameter_read_twice_counts_twice(export: Export) -> None:
    layer = nn.Linear(4, 4)
    once = sensitivity(export(nn.Sequential(layer), (4,)), LOSS, 1.0, Envelope(1.0, 0.0))
    twice = sensitivity(export(nn.Sequential(layer, layer), (4,)), LOSS, 1.0, Envelope(1.0, 0.0))
    assert len(twice.rows) == len(once.rows) == 2
    assert delta(twice, twice.rows[0].parameter) == pytest.approx(2 * once.rows[0].sensitivity)


def test_every_rule_is_of_an_operation_with_a_constant() -> None:
    for module in registry.modules(rules):
        assert set(module.OPERATIONS) <= set(constants()), module.__name__
        assert (module.effect.__doc__ or "").startswith("Bound"), module.__name__
