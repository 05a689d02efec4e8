"""Counts what the Triton kernels load and store for the mean IoU of an image, in the interpreter: no times.

`python -m benchmarks.loads` prints bytes per pixel, classes one by one and on logits ranked once. A load under a mask
counts where the mask is set, whether memory or a cache would serve it; what threads share (a share, the class set),
atomic additions and the library's sort are not counted.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from triton.runtime import interpreter

from robspec.kernels.knapsack import Items, LogitsBatch, _triton_launch
from robspec.kernels.knapsack._triton_classes import prepare_class
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.triton_cuda import TritonBackend

SIDE = 32
RIGHT = 0.85
"""Part of the pixels labelled as they are predicted; the others as chance has it."""
BLOCK = 512


class Count:
    """Bytes loaded and stored under masks or over blocks, by kernel, while it is entered."""

    def __init__(self) -> None:
        self.loaded: Counter[str] = Counter()
        self.stored: Counter[str] = Counter()
        self._kernel = ""

    def __enter__(self) -> Count:
        builder, launch = interpreter.InterpreterBuilder, _triton_launch.launch
        self._old = builder.create_masked_load, builder.create_masked_store, launch
        load, store, _ = self._old

        def loading(this: Any, places: Any, mask: Any, *rest: Any) -> Any:
            found = load(this, places, mask, *rest)
            self._add(self.loaded, mask, found)
            return found

        def storing(this: Any, places: Any, value: Any, mask: Any, *rest: Any) -> Any:
            self._add(self.stored, mask, value)
            return store(this, places, value, mask, *rest)

        def launching(name: str, *arguments: Any, **constants: Any) -> None:
            self._kernel = name
            launch(name, *arguments, **constants)

        builder.create_masked_load, builder.create_masked_store = loading, storing
        _triton_launch.launch = launching
        return self

    def __exit__(self, *_: object) -> None:
        builder = interpreter.InterpreterBuilder
        builder.create_masked_load, builder.create_masked_store, _triton_launch.launch = self._old

    def _add(self, to: Counter[str], mask: Any, value: Any) -> None:
        if mask.data.size > 1:
            to[self._kernel] += int(np.count_nonzero(mask.data)) * value.data.dtype.itemsize


def main() -> None:
    """Print bytes per pixel, all classes together; of many classes some are counted and stand for the others."""
    for classes in (19, 150):
        generator = torch.Generator().manual_seed(1)
        z = torch.randn(1, classes, SIDE, SIDE, generator=generator)
        chance = torch.randint(0, classes, (1, SIDE, SIDE), generator=generator)
        labels = torch.where(torch.rand(1, SIDE, SIDE, generator=generator) < RIGHT, z.argmax(1), chance)
        some = range(0, classes, 1 if classes < 32 else 15)
        times = classes / len(some)
        for water in (False, True):
            reaches = (Fraction(2), Fraction(20)) if water else (Fraction(2),)
            for ranked in (False, True):
                for reach in reaches if ranked else reaches[:1]:
                    with Count() as count:
                        shared = TritonBackend(block=BLOCK).rank(z) if ranked else None
                        items = 0
                        for k in some:
                            how = {"water": water, "share": 0.5, "whole_when_wrong": True}
                            batch = LogitsBatch(z, labels, Items.CLASS, None, (k,), ranked=shared, **how)  # type: ignore[arg-type]
                            asked = Budget.of(
                                reach, Fraction(1), Fraction(2 if water else 1), SIDE**2, single=False, squared=water
                            )
                            items += len(prepare_class(batch, BLOCK).lists(0, asked, asked)[1])
                    print(f"{classes} classes, {'water filling' if water else 'margins'}, budget {reach}")
                    print(f"  enter items given: {items / SIDE**2 * times:.2f} a pixel")
                    for name in count.loaded:
                        once = 1.0 if name in ("rank_pixels", "narrow_labels") else times
                        loaded, stored = (c[name] / SIDE**2 * once for c in (count.loaded, count.stored))
                        print(f"  {name:18s} loaded {loaded:10.1f} stored {stored:8.1f}")


if __name__ == "__main__":
    main()
