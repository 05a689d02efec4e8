"""Behind the proof: an image alone and in company, and a single output that is never below 0."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robspec.models.conduct import Conduct, peeled_notes
from robspec.models.errors import LogitsDependOnCompany, NeverBelowZero
from robspec.models.loading import LoadedModel, load

from .archives import exported, small


@pytest.fixture
def model(tmp_path: Path) -> LoadedModel:
    path = tmp_path / "model.pt2"
    path.write_bytes(exported(small()))
    return load(path)


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


NAMES = ("a", "b", "c", "d")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_an_honest_model_passes(model: LoadedModel, count: int) -> None:
    conduct = Conduct(model)
    conduct.meet(NAMES[:count], images(count), model.logits(images(count)))
    conduct.finish()


@pytest.mark.parametrize("count", [2, 4])
def test_logits_that_were_made_in_company(model: LoadedModel, count: int) -> None:
    """What a batch gave is held against what the last image gives alone."""
    batch = images(count)
    mixed = model.logits(batch) + model.logits(batch).mean(0, keepdim=True)
    with pytest.raises(LogitsDependOnCompany) as caught:
        Conduct(model).meet(NAMES[:count], batch, mixed)
    assert caught.value.where == NAMES[count - 1]


class Counting:
    """A runner whose logits depend on how many images there are."""

    def __init__(self, runner: object) -> None:
        self.runner = runner

    def images_to_logits(self, batch: Tensor) -> Tensor:
        return self.runner.images_to_logits(batch) * len(batch)  # type: ignore[attr-defined]

    def writes(self) -> int:
        return 0


def test_a_lone_image_is_given_company(model: LoadedModel) -> None:
    odd = replace(model, _runner=Counting(model._runner))  # type: ignore[arg-type]
    with pytest.raises(LogitsDependOnCompany):
        Conduct(odd).meet(("a",), images(1), odd.logits(images(1)))


def test_rounding_alone_is_no_dependence(model: LoadedModel) -> None:
    batch = images(4)
    logits = model.logits(batch)
    Conduct(model).meet(NAMES, batch, logits * (1 + 2.0**-14))
    # More than float32 should need is judged again in float64, where nothing differs.
    Conduct(model).meet(NAMES, batch, logits * (1 + 2.0**-8))
    with pytest.raises(LogitsDependOnCompany):
        Conduct(model).meet(NAMES, batch, logits * 1.1)


def test_a_single_output_never_below_zero(model: LoadedModel) -> None:
    conduct = Conduct(model)
    with pytest.raises(NeverBelowZero):
        _single(conduct, model, 0.0)
    _single(Conduct(model), model, -1e-30)


def _single(conduct: Conduct, model: LoadedModel, least: float) -> None:
    for number in range(2):
        conduct._met = 1  # the company of images is not what is looked at here
        single = torch.rand(2, 1, 8, 8) + 0.1
        single[number, 0, 0, 0] = least
        conduct.meet(("a", "b"), images(2), single)
    conduct.finish()


def test_nothing_taken_off_says_nothing(model: LoadedModel) -> None:
    assert peeled_notes(model) == ()
    (note,) = peeled_notes(replace(model, peeled=("sigmoid",)))
    assert note.code == "head-taken-off"
    assert "sigmoid" in note.text
