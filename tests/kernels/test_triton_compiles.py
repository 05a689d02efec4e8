"""What the interpreter runs must also compile: every launch of a real run, for a Hopper GPU, without one at hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robspec.kernels.knapsack import Items, LogitsBatch, _triton_kernels, _triton_launch, triton_cuda
from robspec.kernels.knapsack.budget import Budget
from tests.kernels.available import TRITON

POINTERS = {
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.int16: "*i16",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.uint8: "*u8",
}


def type_of(argument: Any) -> str:
    if isinstance(argument, torch.Tensor):
        return POINTERS[argument.dtype]
    if isinstance(argument, float):
        return "fp32"
    return "i32" if abs(argument) < 2**31 else "i64"


# What the GPU is given, not the interpreter.
GPU_SIZES = dict(zip(("GROUP", "CHUNK"), triton_cuda.TOGETHER, strict=True))


@pytest.mark.skipif(
    not TRITON or not _triton_kernels.INTERPRETED, reason="launches are recorded from the interpreter"
)
def test_every_launch_compiles_for_a_gpu_without_fused_multiply_adds_or_spills(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only multiplications follow the subtraction, so nothing can contract into a fused multiply-add."""
    launches: dict[str, dict[str, Any]] = {}
    interpreted = _triton_launch.launch

    def recorded(name: str, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
        given = {k: GPU_SIZES.get(k, v) for k, v in constants.items()}
        entry = {"kernel": name, "types": [type_of(a) for a in arguments], "constants": given}
        launches[json.dumps(entry)] = entry
        interpreted(name, grid, *arguments, **constants)

    monkeypatch.setattr(_triton_launch, "launch", recorded)
    labels = torch.randint(0, 3, (1, 6, 7))
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        logits = torch.randn(1, 3, 6, 7).to(dtype)
        for items in (Items.CORRECT, Items.PREDICTED):
            prepared = triton_cuda.BACKEND.prepare(LogitsBatch(logits, labels, items, 2))
            for norm in (Fraction(1), Fraction(2), None):
                for asked in (2, 9):
                    prepared.flips([Budget.of(Fraction(1), Fraction(1), norm, 42, single=False)] * asked)
            prepared.radii(np.array([[2, 3]]), Fraction(1), Fraction(2))
        for share in (1.0, 0.5):
            batch = LogitsBatch(
                logits, labels, Items.CLASS, inside=(1,), water=True, share=share, whole_when_wrong=share != 1.0
            )
            _ = triton_cuda.BACKEND.prepare_class(batch).tp
            triton_cuda.BACKEND.prepare_class(replace(batch, ranked=triton_cuda.BACKEND.rank(logits))).lists(0)
    names = {"read_pixels", "below", "add_below", "finish", "spend", "read_class"}
    names |= {"rank_pixels", "narrow_labels", "read_class_ranked", "collect_class", "price_class"}
    assert {e["kernel"] for e in launches.values()} >= names
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.compile_for_gpu"],
        input=json.dumps(list(launches.values())),
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == len(launches)
    assert all(int(size) > 1000 for _, size, *_ in lines)
    assert {fused for _, _, fused, *_ in lines} == {"0"}
    assert {name: int(spilled) for name, *_, spilled in lines if int(spilled)} == {}
