"""The backends that can run here; an interpreted Triton backend gets a coarse histogram, for speed alone."""

from __future__ import annotations

from hypothesis import Phase, settings
from numba import config

from robspec.kernels.knapsack import Backend, backends

REFERENCE = backends()["reference"]
COMPILED = not config.DISABLE_JIT
"""Whether numba compiles; `make mutants` turns it off, and its kernels then run as plain Python, slowly."""
CPU = backends()["cpu" if COMPILED else "reference"]
"""What bounds are tested with."""


def available() -> list[Backend]:
    """List the backends that can run here, compiled and reference ones first."""
    found = [b for b in backends().values() if b.unavailable() is None and (COMPILED or b.name != "triton")]
    return [quick(b) for b in found]


def quick(backend: Backend) -> Backend:
    """Give the form of a backend that the many small examples run: Triton's interpreter takes a second for a few."""
    if backend.name != "triton":
        return backend
    from robspec.kernels.knapsack import _triton_kernels
    from robspec.kernels.knapsack.triton_cuda import TritonBackend

    # The tests of equality ask for nine budgets at once, summed along the list; other tests ask for few.
    return TritonBackend(block=512, bits=3, many=4) if _triton_kernels.INTERPRETED else backend


UNTRACED = [phase for phase in Phase if phase is not Phase.explain]
"""Hypothesis traces every line of Python to explain a failure, which an interpreted kernel has thousands of."""
FEW = max(settings().max_examples // 4, 2)
"""How many random examples the interpreter gets."""
BACKENDS = available()
NATIVE = [b for b in BACKENDS if b.name != "triton"]
TRITON = [b for b in BACKENDS if b.name == "triton"]
