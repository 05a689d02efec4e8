"""What attacked images do together to a metric of the whole data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import torch
from torch import Tensor

from robspec.bounds.context import Context
from robspec.bounds.dataset import open_dataset_bound
from robspec.ir.types import Property, WorstCaseQuery
from robspec.semantics.constant import Constant
from robspec.verify import arithmetic
from robspec.verify.result import Attack
from robspec.verify.run import ImageBatch

Judge = Callable[[Tensor], tuple[Context, list[Fraction], list[bool]]]
"""Gives, of stored images, what the model makes of those that count, their distances, and which count."""


class DatasetAttack:
    """Attacked images of one property, judged as one whole: each image in a ball of its own.

    Args:
        prop: asks for worst cases of a metric of the data set.
        constant: Lipschitz constant for its norm, as for the bound.
        plane: channels and sides of the plane of items of an image.
        folder: where attacked images are stored; created.
    """

    def __init__(self, prop: Property, constant: Constant, plane: tuple[int, int, int], folder: Path) -> None:
        if not isinstance(prop.query, WorstCaseQuery):
            raise ValueError("only worst cases are attacked")
        self.metric, self.norm, self.budgets = prop.query.metric, prop.query.norm, prop.query.budgets
        self.constant = constant
        self._name = prop.name
        exact = arithmetic.bare(constant)
        seen = arithmetic.plane_in_favour(self.metric, plane, constant)
        self._attained = [open_dataset_bound(self.metric, seen, exact) for _ in self.budgets]
        self._settled = [arithmetic.TogetherSettled(self.metric, constant) for _ in self.budgets]
        """Whether rounding decides nothing of what a detector finds; where it may, an attack shows nothing."""
        self._farthest = [Fraction(0)] * len(self.budgets)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._batches = 0

    def take(self, point: int, batch: ImageBatch, tried: Tensor, judge: Judge) -> None:
        """Store what a search made of a batch, read it back, and keep what counts.

        Args:
            point: index of the budget.
            batch: the clean images.
            tried: float32 [B, C, H, W].
            judge: says which images count; the others stay clean.
        """
        path = self._folder / f"{point}-{self._batches:05d}.npy"
        np.save(path, tried.numpy())
        again = torch.from_numpy(np.load(path, allow_pickle=False))
        context, distances, usable = judge(again)
        kept = torch.where(torch.tensor(usable)[:, None, None, None], again, batch.images)
        np.save(path, kept.numpy())
        path.with_suffix(".json").write_text(
            json.dumps([n for n, use in zip(batch.names, usable, strict=True) if use])
        )
        counted = [far for far, use in zip(distances, usable, strict=True) if use]
        self._farthest[point] = max([self._farthest[point], *counted])
        if self.metric.of_objects:
            self._settled[point].add(context)
        else:
            context = arithmetic.in_favour(context, self.metric, self.constant)
        self._attained[point].add(context)
        if point == len(self.budgets) - 1:
            self._batches += 1

    def conclude(self) -> Iterator[tuple[Fraction | None, Attack | None]]:
        """Give what is attained at each budget, and the attacked images in one archive."""
        for point, attained in enumerate(self._attained):
            parts = sorted(self._folder.glob(f"{point}-*.npy"))
            if not parts or not self._settled[point]:
                yield None, None
                continue
            archive = self._folder / f"{self._name}-{point}.npz"
            with ZipFile(archive, "w", ZIP_STORED) as file:
                for part in parts:
                    file.write(part, f"images-{part.stem.partition('-')[2]}.npy")
                    file.write(part.with_suffix(".json"), f"attacked-{part.stem.partition('-')[2]}.json")
            yield attained.clean(), Attack(self._farthest[point], archive)

    def close(self) -> None:
        """Delete what the bounds have spooled."""
        for attained in self._attained:
            attained.close()
