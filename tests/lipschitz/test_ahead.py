"""Norms found ahead by threads change nothing of a proof."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from robspec.errors import RobspecError
from robspec.lipschitz import ahead, norms
from robspec.lipschitz.derivation import Derivation
from robspec.lipschitz.prove import prove
from robspec.lipschitz.watching import watched
from robspec.semantics.norm import L1, L2, LINF


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)]
    found = nn.Sequential(
        *layers, nn.Tanh(), nn.ConvTranspose2d(6, 4, 2, stride=2), nn.AvgPool2d(2), nn.Conv2d(4, 2, 1)
    )
    found[2].weight.data *= 9
    found[7].weight.data *= 40
    return found.eval()


def plain(found: Derivation) -> Derivation:
    rows = tuple(replace(row, seconds=0.0) for row in found.rows)
    return replace(found, rows=rows, seconds=0.0)


@pytest.mark.parametrize(("p", "q"), [(L2, L2), (LINF, LINF), (LINF, L2), (L1, L1)])
def test_the_derivation_is_the_same_to_the_last_bit(export: Any, p: Any, q: Any) -> None:
    program = export(network(), (3, 8, 8))
    alone = plain(prove(program, input_norm=p, output_norm=q))
    assert alone.bound > 2  # what a rehearsal supposes would be less
    for workers in (2, 5):
        assert plain(prove(program, input_norm=p, output_norm=q, workers=workers)) == alone


def test_what_the_rehearsal_foresees_is_found_once(export: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    true = norms.operator_norm

    def counted(stencil: Any, norm: Any) -> float:
        asked.append(ahead._key(stencil, norm))
        return true(stencil, norm)

    program = export(network(), (3, 8, 8))
    monkeypatch.setattr(ahead.norms, "operator_norm", counted)
    prove(program, input_norm=L2, output_norm=L2)
    alone, asked[:] = sorted(set(asked)), []
    prove(program, input_norm=L2, output_norm=L2, workers=2)
    assert sorted(set(asked)) == alone
    assert len(asked) < 2 * len(alone)


def test_what_it_did_not_foresee_is_found_all_the_same(export: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    program = export(network(), (3, 8, 8))
    alone = plain(prove(program, input_norm=L2, output_norm=L2))
    monkeypatch.setattr("robspec.lipschitz.prove._rehearse", lambda *_: 1 / 0)
    assert plain(prove(program, input_norm=L2, output_norm=L2, workers=2)) == alone


def test_a_refusal_is_the_same_refusal(export: Any) -> None:
    program = export(lambda x: x * x, (3, 8, 8))
    said = []
    for workers in (1, 2):
        with pytest.raises(RobspecError) as error:
            prove(program, input_norm=L2, output_norm=L2, workers=workers)
        said.append(str(error.value))
    assert said[0] == said[1]


def test_an_error_of_a_norm_is_the_proofs(export: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(stencil: Any, norm: Any) -> float:
        raise MemoryError("too large")

    program = export(network(), (3, 8, 8))
    monkeypatch.setattr(ahead.norms, "operator_norm", fails)
    with pytest.raises(MemoryError):
        prove(program, input_norm=L2, output_norm=L2, workers=2)


def test_the_rehearsal_is_not_shown(export: Any) -> None:
    program = export(network(), (3, 8, 8))
    seen = []
    for workers in (1, 2):
        with watched() as stage:
            prove(program, input_norm=L2, output_norm=L2, workers=workers)
        seen.append((stage.done, stage.total))
    assert seen[0] == seen[1]
