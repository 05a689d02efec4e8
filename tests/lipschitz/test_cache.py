"""Results are cached by content, safe against corruption and concurrent runs."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from robspec.lipschitz import cache, rulebook
from robspec.lipschitz.cache import cached, key
from robspec.semantics.norm import L1, L2, LINF


@pytest.fixture
def program(export: Any) -> Any:
    torch.manual_seed(0)
    return export(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), (4,))


def test_a_second_run_reads_the_first(program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cached(program, input_norm=L2, output_norm=LINF, directory=tmp_path)
    monkeypatch.setattr(cache, "prove", lambda *_, **__: pytest.fail("proved again"))
    assert cached(program, input_norm=L2, output_norm=LINF, directory=tmp_path) == first


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "not_json", "wrong_payload", "directory"])
def test_a_damaged_entry_is_recomputed(damage: str, program: Any, tmp_path: Path) -> None:
    first = cached(program, input_norm=L2, output_norm=L2, directory=tmp_path)
    (entry,) = tmp_path.iterdir()
    text = entry.read_text()
    if damage == "truncate":
        entry.write_text(text[: len(text) // 2])
    elif damage == "flip":
        entry.write_text(text.replace(first.bound.hex(), (first.bound / 2).hex()))
    elif damage == "empty":
        entry.write_text("")
    elif damage == "not_json":
        entry.write_bytes(b"\xff\xfe\x00")
    elif damage == "wrong_payload":
        entry.write_text(json.dumps({"payload": "{}", "checksum": "0"}))
    else:
        entry.unlink()
        entry.mkdir()
    again = cached(program, input_norm=L2, output_norm=L2, directory=tmp_path)
    assert again.bound == first.bound


def test_concurrent_runs_agree_and_leave_no_rubbish(program: Any, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(cached, program, input_norm=L2, output_norm=L2, directory=tmp_path) for _ in range(8)]
        bounds = {run.result().bound for run in runs}
    assert len(bounds) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def test_an_unwritable_directory_is_no_failure(program: Any, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert cached(program, input_norm=L2, output_norm=L2, directory=blocked / "below").bound > 0


def test_the_key_depends_on_everything(program: Any, export: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    base = key(program, L2, L2)
    assert base == key(program, L2, L2)
    others = {key(program, L1, L2), key(program, L2, L1)}
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    torch.manual_seed(0)
    for layer in (model[0], model[2]):
        layer.reset_parameters()
    others.add(key(export(nn.Sequential(model[0], nn.Tanh(), model[2]), (4,)), L2, L2))
    model[2].bias.data[0] += 2**-20
    others.add(key(export(model, (4,)), L2, L2))
    others.add(key(export(lambda x: x.clamp(0, 1), (4,)), L2, L2))
    others.add(key(export(lambda x: x.clamp(0, 2), (4,)), L2, L2))
    monkeypatch.setattr(cache, "RULES_VERSION", rulebook.RULES_VERSION + 1)
    others.add(key(program, L2, L2))
    assert len(others | {base}) == 8
