"""Collects what a certificate needs while a check runs, and puts it together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from torch.export import ExportedProgram

from robspec.bounds import macro, open_bound
from robspec.bounds.context import Context
from robspec.cli._session import Session
from robspec.errors import SoundnessAlarm
from robspec.ir.types import Program, Property, WorstCaseQuery
from robspec.lipschitz.cache import cached
from robspec.lipschitz.derivation import Derivation
from robspec.recheck import document
from robspec.recheck.assemble import Inputs, constants, header
from robspec.recheck.assemble import document as assembled
from robspec.recheck.averages import Relaxation
from robspec.recheck.derive import Deriver
from robspec.recheck.write import certificate
from robspec.semantics.constant import Constant
from robspec.semantics.norm import Norm
from robspec.verify.evaluate import metrics_of
from robspec.verify.result import CheckReport, ImageResult
from robspec.verify.run import Answers


class Certificate:
    """A certificate in the making.

    Args:
        program: the compiled specification.
        session: model, data and constants of the check.
        inputs: its options.
        spec_text: the specification as read.
    """

    def __init__(self, program: Program, session: Session, inputs: Inputs, spec_text: str) -> None:
        self._program = program
        self._session = session
        self._inputs = inputs
        self._spec_text = spec_text
        found, self._proofs = constants(program, session.model.program, inputs.assume, _kept)
        if [c.value for c in found] != [c.value for c in session.established.constants]:
            raise SoundnessAlarm("certificate", "two readings of the proof give different constants", "report it")
        self._deriver = Deriver(program, found)
        self._by: list[list[tuple[Relaxation | None, ...]]] = [[] for _ in program.properties]

    def observe(self, context: Context, names: Sequence[str], answers: Answers) -> None:
        """Derive a batch in exact arithmetic, and keep what the bounds of averages stand on."""
        self._deriver.add(names, context.logits, context.labels, context.region, context.weights)
        constants = self._session.established.constants
        for kept, prop, constant, found in zip(self._by, self._program.properties, constants, answers, strict=True):
            kept.extend(_relaxations(prop, constant, context, found))

    def text(self, report: CheckReport) -> str:
        """Compare with what was certified, and write it down.

        Args:
            report: the finished check.

        Returns:
            The content of the file.

        Raises:
            SoundnessAlarm: exact arithmetic derives something else (E0901).
        """
        head = header(self._program, self._inputs, self._spec_text, self._session.model.sha256, self._session.data)
        derived = assembled(head, self._program, self._proofs, *self._deriver.finish())
        values: list[list[tuple[Fraction | float | None, ...]]] = [
            [image.certified for image in prop.images] for prop in report.properties
        ]
        return document.dumps(certificate(derived, self._program, values, self._by))


def _relaxations(
    prop: Property, constant: Constant, context: Context, found: Sequence[ImageResult]
) -> Iterator[tuple[Relaxation | None, ...]]:
    """What the bound of every image stands on at every point; nothing for families that need no telling."""
    query = prop.query
    metrics = list(metrics_of(query))
    bound = open_bound(metrics[0], context, constant) if metrics[0].family == "macro" and found else None
    for i, image in enumerate(found):
        told: list[Relaxation | None] = []
        for point, certified in enumerate(image.certified):
            eps = query.budgets[point] if isinstance(query, WorstCaseQuery) else certified
            by = bound.relaxation(i, eps) if isinstance(bound, macro.Bound) and isinstance(eps, Fraction) else None
            told.append(None if by is None else Relaxation(by.price, by.unit, by.spends))
        yield tuple(told)


def _kept(graph: ExportedProgram, input_norm: Norm, output_norm: Norm) -> Derivation:
    """The very derivation the check stands on."""
    return cached(graph, input_norm=input_norm, output_norm=output_norm)
