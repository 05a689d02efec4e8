"""Compile kernels for a GPU that is not there: read signatures from standard input, print what came out of each.

A line is a kernel's name, the bytes of its code, its fused multiply-adds in float64, registers and bytes of spills.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler import compile as build

from robspec.kernels.knapsack import _triton_launch

HOPPER = GPUTarget("cuda", 90, 32)


def usage(code: bytes) -> tuple[int, int]:
    """Count the registers of a thread and the bytes it keeps in memory for want of more."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        report = subprocess.run(
            [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", report)
    if found is None:
        raise ValueError(report)
    return int(found[1]), int(found[2]) + int(found[3])


def main() -> None:
    for launch in json.load(sys.stdin):
        kernel = _triton_launch.named(launch["kernel"])
        names = kernel.arg_names
        types = dict(zip(names, launch["types"], strict=False))
        constants = launch["constants"]
        options = {"enable_fp_fusion": False} | {k: constants.pop(k) for k in ("num_warps",) if k in constants}
        signature = {name: "constexpr" if name in constants else types[name] for name in names}
        source = ASTSource(
            fn=kernel, signature=signature, constexprs={(names.index(k),): v for k, v in constants.items()}
        )
        made = build(source, target=HOPPER, options=options)
        registers, spilled = usage(made.asm["cubin"])
        fused = made.asm["ptx"].count("fma.rn.f64")
        sys.stdout.write(f"{launch['kernel']} {len(made.asm['cubin'])} {fused} {registers} {spilled}\n")


if __name__ == "__main__":
    main()
