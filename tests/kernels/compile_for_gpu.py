"""Compile kernels for a GPU that is not there: read signatures from standard input, print what came out of each."""

from __future__ import annotations

import json
import sys

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler import compile as build

from robspec.kernels.knapsack import _triton_kernels

HOPPER = GPUTarget("cuda", 90, 32)


def main() -> None:
    for launch in json.load(sys.stdin):
        kernel = getattr(_triton_kernels, launch["kernel"])
        names = kernel.arg_names
        types = dict(zip(names, launch["types"], strict=False))
        constants = launch["constants"]
        signature = {name: "constexpr" if name in constants else types[name] for name in names}
        source = ASTSource(
            fn=kernel, signature=signature, constexprs={(names.index(k),): v for k, v in constants.items()}
        )
        made = build(source, target=HOPPER, options={"enable_fp_fusion": False})
        sys.stdout.write(f"{launch['kernel']} {len(made.asm['cubin'])} {made.asm['ptx'].count('fma.rn.f64')}\n")


if __name__ == "__main__":
    main()
