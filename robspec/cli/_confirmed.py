"""What `recheck` says beside what it confirms: the notes of the report that the certificate's data call for."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor

from robspec.data.dataset import Batch
from robspec.ir.types import Program, Property
from robspec.kernels.knapsack import Backend
from robspec.models.conduct import peeled_notes
from robspec.notes import Note
from robspec.recheck.claims import rational
from robspec.recheck.recheck import Derived
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.session import trained
from robspec.session.opening import weights_notes
from robspec.verify import seen
from robspec.verify.census import Census
from robspec.verify.remarks import remarks
from robspec.verify.result import ImageResult, PropertyResult
from robspec.verify.run import notes


class Beside:
    """Counts, while a certificate is rechecked, what the notes of a report are made of.

    Args:
        program: the compiled specification.
        warned: what the specification itself is warned of.
        backend: any; nothing is computed with it.
    """

    def __init__(self, program: Program, warned: Iterable[Note], backend: Backend) -> None:
        self._program = program
        self._warned = tuple(warned)
        self._backend = backend
        self._census = Census(program)

    def observe(self, batch: Batch, logits: Tensor) -> None:
        """Count one batch."""
        self._census.meet(batch.names, batch.images)
        # Where boxes lie is nothing that is counted.
        self._census.add(batch.names, seen.context(self._program, self._backend, None, logits, batch))

    def lines(
        self, derived: Derived, certificate: dict[str, Any], path: Path, key: str | None, prefix: str
    ) -> list[str]:
        """Write the notes down, in the order of a report.

        Args:
            derived: what was confirmed.
            certificate: the same as it is written.
            path: the model file.
            key: which table of a checkpoint, or None.
            prefix: what was taken off the weights' names.
        """
        model, data = derived.model, derived.data
        pairs = zip(self._program.properties, certificate["properties"], strict=True)
        properties = [_result(prop, entry) for prop, entry in pairs]
        found: list[Note] = [
            *self._warned,
            *peeled_notes(model),
            *data.remarks,
            *trained.notes(self._program, path, model.sha256, data),
            *remarks(self._program, self._census, properties),
        ]
        forward = str(model.forward_dtype).removeprefix("torch.")
        about = (
            *notes(self._program, forward, "" if derived.rounding is None else derived.rounding.said, derived.unreal),
            *weights_notes(model, key, prefix),
            data.scaling,
        )
        return [*map(str, found), *about]


def _result(prop: Property, entry: dict[str, Any]) -> PropertyResult:
    """What notes on a property look at, read off a confirmed certificate."""
    images = []
    for image in entry["images"]:
        certified = tuple(rational(point["certified"]) for point in image["points"])
        images.append(ImageResult(image["image"], None, certified, certified))
    value = rational(entry["lipschitz"]["value"])
    norm = prop.query.norm
    constant = Constant(Fraction(value or 0), norm, norm, ConstantStatus(entry["lipschitz"]["status"]))
    return PropertyResult(prop, constant, tuple(images), ())
