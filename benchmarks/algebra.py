"""Worst-case IoU of every class and their mean on one large image: one budget, then a sweep."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from fractions import Fraction

import numba
import torch

from robspec.bounds import open_bound
from robspec.bounds.context import Context
from robspec.ir.types import Metric
from robspec.kernels.knapsack import backends
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2

CLASSES, SIDE = 19, 1024
ONE = Constant(Fraction(1), L2, L2, ConstantStatus.PROVED)


def metrics() -> list[Metric]:
    """IoU of each class, then mean IoU, as the compiler hands them over."""
    from robspec.lower import compile_text

    names = ", ".join(f"c{k}" for k in range(CLASSES))
    head = f"""language 1
model {{
  input image [3, {SIDE}, {SIDE}] in [0, 1]
  output logits [{CLASSES}, {SIDE}, {SIDE}]
  classes {names}
}}
data d {{
  images "i/*.png"
  masks "m/*.png"
}}
"""
    asked = [f"iou[c{k}]" for k in range(CLASSES)] + ["mean_iou"]
    body = "".join(
        f"property p{n} {{\n  metric {m}\n  norm l2\n  budget 1\n  require mean(worst_case) >= 0.1\n}}\n"
        for n, m in enumerate(asked)
    )
    program, diagnostics = compile_text(head + body)
    if program is None:
        raise SystemExit(f"the benchmark's specification does not compile: {diagnostics}")
    return [p.query.metric for p in program.properties if hasattr(p.query, "metric")]


def timed(work: Callable[[], object], repeats: int) -> float:
    """Median seconds."""
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return sorted(found)[len(found) // 2]


def main() -> None:
    """Print the times of one budget and of fifty."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (1, SIDE, SIDE), generator=generator)
    logits = torch.randn(1, CLASSES, SIDE, SIDE, generator=generator)
    logits.scatter_add_(1, labels[:, None], torch.full((1, 1, SIDE, SIDE), 3.0))
    asked = metrics()

    def run(budgets: list[Fraction]) -> list[object]:
        context = Context(backends()["cpu"], logits, labels, None)
        return [open_bound(m, context, ONE).worst_case(budgets) for m in asked]

    print(
        f"{platform.processor() or platform.machine()}, {numba.get_num_threads()} threads, torch {torch.__version__}"
    )
    run([Fraction(1)])
    for eps in (Fraction(1), Fraction(10)):
        one = timed(lambda eps=eps: run([eps]), 3)  # type: ignore[misc]
        fifty = timed(lambda eps=eps: run([eps * (i + 1) / 50 for i in range(50)]), 1)  # type: ignore[misc]
        print(f"eps {eps}: {len(asked)} metrics {one:.2f} s, 50 budgets {fifty:.2f} s ({fifty / one:.2f} times)")


if __name__ == "__main__":
    main()
