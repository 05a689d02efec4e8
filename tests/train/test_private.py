"""Private training: bounds of what is trained, the noise that is drawn, and what a run is charged for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from robspec import extras
from robspec.diagnostics import Source
from robspec.models.lipnets.patches import LipPatches, as_matrix
from robspec.privacy.accountant import effective, epsilon
from robspec.privacy.errors import NoBudget
from robspec.privacy.ledger import Ledger
from robspec.syntax import format_file, parse
from robspec.train.building import build
from robspec.train.certify import compiled, specification
from robspec.train.config import Config, as_json, read_config
from robspec.train.errors import ConfigKey, ConfigValue
from robspec.train.fixed import Floats
from robspec.train.loop import Trainer, deterministic
from robspec.train.private import PrivateSteps
from tests.train.autograd import sample_losses

TEXT = """
[run]
epochs = 2
batch = 4
threads = 1
checkpoint_steps = 2
[model]
architecture = "patches"
channels = [4]
depths = [1]
mean = [0.5]
std = [1.0]
[data]
input = [1, 8, 8]
classes = ["a", "b"]
train_scenes = 16
val_scenes = 1
[loss]
tau = 10
[privacy]
noise = 2.0
norm_bound = 3
bias_bound = 0.5
"""


class Samples:
    """Sixteen images whose classes are bright and dark."""

    def __init__(self) -> None:
        self.images = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return 16

    def take(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return self.images[indices], (self.images[indices, 0] > 0.5).long()


def config(folder: Path, text: str = TEXT) -> Config:
    (folder / "private.toml").write_text(text)
    return read_config(folder / "private.toml")


def trainer(folder: Path) -> Trainer:
    return Trainer(config(folder), Samples(), folder, {"run": "one"}, lambda network, epoch: {})  # type: ignore[arg-type]


def network(found: Config) -> LipPatches:
    torch.manual_seed(0)
    built = build(found)
    assert isinstance(built, LipPatches)
    return built


@pytest.mark.parametrize("steps", [0, 3])
def test_gradients_of_samples_stay_within_what_the_noise_is_for(steps: int, tmp_path: Path) -> None:
    found = config(tmp_path)
    built = network(found)
    private = PrivateSteps(found, built, 16, 8, tmp_path, 0, {})
    optimizer = torch.optim.SGD(built.parameters(), lr=1.0)
    for _ in range(steps):
        private.gradients(Samples().take)
        optimizer.step()
        private.retract()
    limits = {row.parameter: row.sensitivity for row in private.table.rows}
    assert set(limits) == {name for name, _ in built.named_parameters()}
    generator = torch.Generator().manual_seed(1)
    best = 0.0
    for reach in (1e-3, 1.0, 1e3):
        images = reach * torch.randn(6, 1, 8, 8, generator=generator)
        images[0], images[1] = reach, -reach
        for k, label in enumerate((0, 1, 0, 1, 0, -1)):
            built.zero_grad(set_to_none=True)
            labels = torch.full((1, 8, 8), label)
            sample_losses(built, found, images[k : k + 1], labels).sum().backward()
            for name, parameter in built.named_parameters():
                assert parameter.grad is not None
                share = parameter.grad.double().norm().item() / limits[name]
                assert share <= 1.001, name
                best = max(best, share)
    assert best >= 0.5
    for layer in built.matrices():
        matrix = as_matrix(layer).double()
        assert torch.linalg.matrix_norm(matrix, 2) <= 1.00001


def test_the_noise_is_that_of_the_card(tmp_path: Path) -> None:
    """Of a sample that nobody was drawn into, the whole gradient is noise."""
    found = config(tmp_path)
    built = network(found)
    rng = np.random.default_rng(0)
    private = PrivateSteps(found, built, 10**9, 200, tmp_path, 0, {}, bits=rng.bytes)
    private._size = 0
    drawn: dict[str, list[Tensor]] = {}
    for _ in range(200):
        private.gradients(Samples().take)
        for name, parameter in built.named_parameters():
            assert parameter.grad is not None
            drawn.setdefault(name, []).append(4 * parameter.grad.double().flatten() / private.scales[name])
    for name, parts in drawn.items():
        values = torch.cat(parts)
        assert off_normal(values) <= far(len(values)), name
        # Six standard errors of mean and variance.
        assert abs(values.mean().item()) <= 6 / len(values) ** 0.5, name
        assert abs(values.var().item() - 1) <= 6 * (2 / len(values)) ** 0.5, name
    rows = private.table.rows
    sigmas = [private.scales[row.parameter] / row.sensitivity for row in rows]
    assert effective(sigmas) >= 2.0
    assert sigmas == pytest.approx([2.0 * len(rows) ** 0.5] * len(rows), rel=2e-3)


def off_normal(values: Tensor) -> float:
    """How far the share of values below any number is from what it is for normal ones, at most."""
    ordered, size = values.sort().values, len(values)
    expected = torch.special.ndtr(ordered)
    steps = torch.arange(size + 1, dtype=torch.float64) / size
    return float(torch.maximum(steps[1:] - expected, expected - steps[:-1]).max())


def far(size: int) -> float:
    """What is exceeded with a chance of 1e-9 at most (Dvoretzky, Kiefer and Wolfowitz; Massart 1990)."""
    return float((np.log(2e9) / (2 * size)) ** 0.5)


def test_noise_of_another_shape_or_scale_would_be_noticed() -> None:
    """Of as many numbers as the smallest parameter gets in the test above."""
    rng = np.random.default_rng(0)
    size = 200 * 8
    assert off_normal(torch.from_numpy(rng.standard_normal(size))) <= far(size)
    wrong = {
        "uniform": rng.uniform(-(3**0.5), 3**0.5, 10 * size),
        "Laplace": rng.laplace(0, 0.5**0.5, 10 * size),
        "narrow": 0.8 * rng.standard_normal(10 * size),
        "shifted": rng.standard_normal(10 * size) + 0.1,
    }
    for name, values in wrong.items():
        assert off_normal(torch.from_numpy(values)) > far(10 * size), name


class Kept(PrivateSteps):
    """Remembers the sums of integers before noise is added."""

    def sums(self, chosen: list[int]) -> npt.NDArray[np.int64]:
        images, labels = Samples().take(chosen)
        return self.summed(images, labels, self.grid())


def test_a_sample_adds_the_same_integers_whatever_it_is_with(tmp_path: Path) -> None:
    """Bit by bit, and within the limit in integers of any size: also in other company, places and orders."""
    found = config(tmp_path)
    private = Kept(found, network(found), 16, 8, tmp_path, 0, {})
    grid = private.grid()
    each = [private.sums([k]) for k in range(16)]
    for chosen in ([3, 1, 2], [1, 2, 3], list(range(16)), list(range(16))[::-1], [5] * 4):
        assert np.array_equal(private.sums(chosen), sum(each[k] for k in chosen))
    starts = np.cumsum((0, *grid.sizes))
    for whole in each:
        assert np.abs(whole).max() > 2**20
        for begin, end, limit in zip(starts, starts[1:], grid.limits, strict=False):
            assert sum(int(v) ** 2 for v in whole[begin:end]) <= limit**2
    assert effective([float(m) for m in grid.multipliers]) >= 2.0 * (1 - 1e-12)


def test_threads_make_no_difference(tmp_path: Path) -> None:
    sums = []
    for threads in (1, 3):
        found = config(tmp_path, TEXT.replace("threads = 1", f"threads = {threads}"))
        private = Kept(found, network(found), 16, 8, tmp_path, 0, {})
        with deterministic(threads):
            sums.append(private.sums(list(range(16))))
            assert torch.get_num_threads() == threads
    assert np.array_equal(*sums)


def test_a_gradient_that_is_too_large_or_no_number_hides_behind_the_same_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were a bound wrong, what a sample changes would still be what the noise is for."""
    found = config(tmp_path)
    private = Kept(found, network(found), 16, 8, tmp_path, 0, {})
    limits, sizes = private.grid().limits, private.grid().sizes
    exact = private._fixed.gradients

    for factor in (1e3, float("inf"), float("nan")):

        def wrong(images: Tensor, labels: Tensor, f: float = factor) -> Iterator[tuple[int, Floats, float]]:
            return ((k, np.nan_to_num(values) * f, unit) for k, values, unit in exact(images, labels))

        monkeypatch.setattr(private._fixed, "gradients", wrong)
        whole, start = private.sums([4]), 0
        for size, limit in zip(sizes, limits, strict=True):
            part = sum(int(v) ** 2 for v in whole[start : start + size])
            assert part <= limit**2
            assert factor != 1e3 or part >= 0.999 * limit**2 or part == 0
            start += size


def test_each_sample_is_drawn_by_itself(tmp_path: Path) -> None:
    found = config(tmp_path)
    rng = np.random.default_rng(0)
    private = PrivateSteps(found, network(found), 16, 400, tmp_path, 0, {}, bits=rng.bytes)
    sizes, counts = [], np.zeros(16)

    def take(indices: list[int]) -> tuple[Tensor, Tensor]:
        counts[indices] += 1
        sizes.append(len(indices))
        return Samples().take(indices)

    for _ in range(400):
        private.gradients(take)
    assert private.q == 0.25
    assert len(set(sizes)) > 2
    assert np.all(np.abs(counts - 100) <= 6 * (400 * 0.25 * 0.75) ** 0.5)


def test_a_killed_step_is_charged_and_the_run_ends_earlier(tmp_path: Path) -> None:
    first = trainer(tmp_path)
    assert first.steps == 8
    asked = iter([False, False, True, True])
    with pytest.raises(KeyboardInterrupt):
        first.run(lambda _: None, lambda _: None, lambda: next(asked))
    done = first.progress.step
    ledger = json.loads((tmp_path / "privacy.json").read_text())
    assert ledger["charged"] == done < 8
    # Two more steps were begun, and nothing is left of them.
    (tmp_path / "privacy.json").write_text(json.dumps({**ledger, "charged": done + 2}))
    second = trainer(tmp_path)
    assert second.steps == 6
    second.run(lambda _: None, lambda _: None)
    assert second.progress.step == 6
    assert second.private is not None
    assert second.private.ledger.charged == 8
    assert all("loss" not in entry for entry in second.progress.history)
    with pytest.raises(NoBudget):
        second.private.ledger.charge()
    if not extras.missing("private"):
        told = second.private.card()
        assert told["epsilon"] == epsilon(2.0, 0.25, 8, 1e-5)
        assert told["steps_charged"] == 8
        assert len(told["layers"]) == 8


def test_a_run_that_is_over_stays_as_it_is(tmp_path: Path) -> None:
    first = trainer(tmp_path)
    first.run(lambda _: None, lambda _: None)
    again = trainer(tmp_path)
    assert again.resumed
    for mine, other in zip(first.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_a_ledger_that_knows_less_than_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NoBudget, match="checkpoint of 3"):
        Ledger.open(tmp_path, 8, 3, {})
    (tmp_path / "privacy.json").write_text("{")
    with pytest.raises(NoBudget, match="cannot be read"):
        Ledger.open(tmp_path, 8, 0, {})


def test_steps_that_were_charged_at_another_price_are_not_gone_on_with(tmp_path: Path) -> None:
    """A run that was killed before its first checkpoint has spent what its own noise allows, and not another's."""
    run = {"configuration": "noise = 0.3", "training data": "a"}
    first = Ledger.open(tmp_path, 8, 0, run)
    first.charge()
    assert Ledger.open(tmp_path, 8, 0, run).charged == 1
    for other in ({**run, "configuration": "noise = 5"}, {**run, "training data": "b"}, {}):
        with pytest.raises(NoBudget, match="1 steps of another run"):
            Ledger.open(tmp_path, 8, 0, other)
    (tmp_path / "privacy.json").write_text('{"charged": 3, "planned": 8, "identity": {}}')
    with pytest.raises(NoBudget, match="cannot be read"):
        Ledger.open(tmp_path, 8, 0, run)


@pytest.mark.parametrize("said", ['"proved"', '"trusted"', "3"])
def test_rounding_is_no_choice_any_more(said: str, tmp_path: Path) -> None:
    """An earlier version's configuration is told so, and its steps are not gone on with once the key is left out."""
    with pytest.raises(ConfigKey) as caught:
        config(tmp_path, TEXT.replace("[privacy]", f"[privacy]\nrounding = {said}"))
    assert caught.value.what == "[privacy] has no key `rounding`"
    assert caught.value.mend == "leave it out: the rounding of private steps is always proved"
    with pytest.raises(ConfigKey) as caught:
        config(tmp_path, TEXT.replace("tau = 10", f"tau = 10\nrounding = {said}"))
    assert caught.value.mend.startswith("[loss] takes kind, tau")
    found = config(tmp_path)
    assert "rounding" not in as_json(found)["privacy"]  # type: ignore[operator]
    if not extras.missing("private"):
        assert PrivateSteps(found, network(found), 16, 8, tmp_path, 0, {}).card()["rounding"] == "proved"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("noise = 2.0", "noise = 2.0\nepsilon = 3"),
        ("noise = 2.0", ""),
        ('"patches"', '"fcn"'),
        ("tau = 10", 'kind = "hkr"'),
        ("[privacy]", "[augment]\nflip = true\n[privacy]"),
    ],
)
def test_what_the_bounds_do_not_cover(old: str, new: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigValue, match=r"\[privacy\]"):
        config(tmp_path, TEXT.replace(old, new))


def test_the_specification_that_is_written_asks_for_the_privacy_that_was_trained_for(tmp_path: Path) -> None:
    asking = config(tmp_path, TEXT.replace("noise = 2.0", "epsilon = 2.5\ndelta = 1e-6"))
    floors = {("pixel_accuracy", budget): Fraction(1, 2) for budget in asking.validation.budgets}
    text = specification(asking, ["pixel_accuracy"], floors, Fraction(1))
    program = compiled(text, "model.rspec")
    assert program.privacy is not None
    assert (program.privacy.epsilon, program.privacy.delta) == (Fraction("2.5"), Fraction("1e-6"))
    assert format_file(parse(Source(text)).file) == text
    without = config(tmp_path)
    assert compiled(specification(without, ["pixel_accuracy"], floors, Fraction(1)), "model.rspec").privacy is None


def test_noise_that_hides_nothing_is_refused_before_anything_is_taken(tmp_path: Path) -> None:
    found = config(tmp_path, TEXT.replace("noise = 2.0", "noise = 0.01"))
    with pytest.raises(NoBudget, match="not worth computing"):
        PrivateSteps(found, network(found), 16, 8, tmp_path, 0, {})
    assert not (tmp_path / "privacy.json").exists()


def test_the_log_of_a_run_cannot_be_guessed(tmp_path: Path) -> None:
    """A digest of what it says alone would tell who took part; resumed, it is the same log."""
    digests = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        ledger = Ledger.open(tmp_path / name, 8, 0, {"training data": "c"})
        ledger.charge()
        digests.add(ledger.digest())
        assert Ledger.open(tmp_path / name, 8, 0, {"training data": "c"}).digest() == ledger.digest()
    assert len(digests) == 2
