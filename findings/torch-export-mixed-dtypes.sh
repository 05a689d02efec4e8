#!/usr/bin/env bash
# torch 2.13.0. Expected: a convolution of float images by integer weights, which eager mode refuses, is refused by export too.
# Seen: it is exported, its output declared float32; the exported program raises when it is run. linear does the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import warnings

import torch
from torch.nn import functional

warnings.simplefilter("ignore")


class Network(torch.nn.Module):
    def __init__(self, operation, *sides):
        super().__init__()
        self.operation = operation
        self.register_buffer("weight", torch.ones(*sides, dtype=torch.int64))

    def forward(self, x):
        return self.operation(x, self.weight)


def outcome(run):
    try:
        return run()
    except RuntimeError:
        return "RuntimeError"


for name, module, image in (
    ("conv2d", Network(functional.conv2d, 2, 3, 1, 1), torch.ones(1, 3, 4, 4)),
    ("conv_transpose2d", Network(functional.conv_transpose2d, 3, 2, 2, 2), torch.ones(1, 3, 4, 4)),
    ("linear", Network(functional.linear, 2, 3), torch.ones(5, 3)),
):
    eager = outcome(lambda: module(image).dtype)
    program = torch.export.export(module, (image,))
    declared = program.graph.output_node().args[0][0].meta["val"].dtype
    later = outcome(lambda: program.module()(image).dtype)
    print(f"torch {torch.__version__}: {name} eager {eager}, exported as {declared}, then {later}")
    assert (eager, declared, later) == ("RuntimeError", torch.float32, "RuntimeError")
PYTHON
