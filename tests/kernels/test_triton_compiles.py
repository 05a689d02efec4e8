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

from robspec.kernels.coarse import CoarseBatch
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.coarse.triton import SIZES, TritonCoarse
from robspec.kernels.knapsack import Items, LogitsBatch, _triton_kernels, _triton_launch, triton_cuda
from robspec.kernels.knapsack.budget import Budget
from robspec.lipschitz.upsampling import interpolation
from tests.kernels.available import TRITON

POINTERS = {
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.int8: "*i8",
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


Launches = dict[str, dict[str, Any]]
INTERPRETED = pytest.mark.skipif(
    not TRITON or not _triton_kernels.INTERPRETED, reason="launches are recorded from the interpreter"
)


def recording(monkeypatch: pytest.MonkeyPatch, *, run: bool) -> Launches:
    """Collect every launch from now on, with the sizes that a GPU is given, whether or not it is interpreted too."""
    found: Launches = {}
    interpreted = _triton_launch.launch

    def recorded(name: str, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
        given = {k: GPU_SIZES.get(k, v) for k, v in constants.items()}
        entry = {"kernel": name, "types": [type_of(a) for a in arguments], "constants": given}
        found[json.dumps(entry)] = entry
        if run:
            interpreted(name, grid, *arguments, **constants)

    monkeypatch.setattr(_triton_launch, "launch", recorded)
    return found


def compile_all(launches: Launches, spilled: int = 0) -> None:
    """Compile for a GPU: no product may contract with a sum, and registers suffice.

    Args:
        launches: what to compile.
        spilled: bytes that a thread may keep in memory all the same, which the assembler chooses to.
    """
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
    assert {name: int(kept) for name, *_, kept in lines if int(kept) > spilled} == {}


@INTERPRETED
def test_every_launch_compiles_for_a_gpu_without_fused_multiply_adds_or_spills(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launches = recording(monkeypatch, run=True)
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
    compile_all(launches)


CELLS = {
    4: (12, 19, torch.float32, Items.CORRECT, "bilinear"),
    8: (18, 150, torch.bfloat16, Items.CORRECT, "bilinear"),
    32: (3, 19, torch.float32, Items.CORRECT, "bilinear"),
    3: (9, 5, torch.float64, Items.PREDICTED, "four nodes"),
    2: (20, 1, torch.float16, Items.CORRECT, "nearest"),
}


@INTERPRETED
@pytest.mark.parametrize("factor", CELLS)
def test_kernels_over_cells_compile_for_a_gpu(monkeypatch: pytest.MonkeyPatch, factor: int) -> None:
    """Cells inside the image and at its borders, up to 64 x 64 slots, in the tiles that a GPU is given."""
    launches = recording(monkeypatch, run=False)
    side, classes, dtype, items, kind = CELLS[factor]
    rows = [dict(row) for row in interpolation(side, factor * side, False, None)]
    if kind != "bilinear":
        span = 4 if kind == "four nodes" else 1
        rows = [{min(o // factor + j, side - 1): Fraction(1) for j in range(span)} for o in range(factor * side)]
    axis = Axis.of(rows, side)
    labels = torch.zeros((1, factor * side, factor * side), dtype=torch.int64)
    batch = CoarseBatch(torch.zeros(1, classes, side, side, dtype=dtype), Grid(axis, axis), labels, items, 255)
    # Nothing runs, so that every price is open: each kernel is started.
    budgets = [Budget.of(Fraction(1), Fraction(1), Fraction(2), labels.numel(), single=classes == 1)]
    TritonCoarse(batch, SIZES).flips(budgets)
    names = {f"coarse.{name}" for name in ("read_cells", "given_up", "narrow", "collect")}
    assert {e["kernel"] for e in launches.values()} == names
    compile_all(launches, spilled=8)
