"""The check as one piece of work: options in, a report out, whoever asks."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType

from robspec import extras, stopping
from robspec.bounds.context import Context
from robspec.data.batching import default_batch_size
from robspec.diagnostics import Diagnostic, Source
from robspec.ir.types import Program
from robspec.models.conduct import Conduct, peeled_notes
from robspec.recheck.assemble import Inputs
from robspec.recheck.recheck import MOST_AT_ONCE
from robspec.session import trained
from robspec.session.certificate import Certificate
from robspec.session.cross_check import cross_checked
from robspec.session.opening import Session, open_session
from robspec.session.progress import Progress, silent
from robspec.session.warned import warned
from robspec.verify.attack import Attacker
from robspec.verify.crosscheck import CrossCheck
from robspec.verify.errors import OptionValueError
from robspec.verify.gap import explained
from robspec.verify.result import CheckReport
from robspec.verify.run import Answers, check


@dataclass(frozen=True, slots=True)
class Options:
    """What a check can be told beside model and specification.

    Args:
        data: folder the data globs start from; None for the specification's.
        arch: architecture of a bare state_dict, or None.
        key: with `arch`, which table of a checkpoint, or None.
        prefix: with `arch`, what the weights' names have more, or empty.
        assume: an l2 constant to stand on where none can be proved, or None.
        backend: a kernel backend's name, or "auto".
        forward: "model" or "float64".
        batch_size: images per forward pass, or None.
        pair_bound: whether to say what water filling gains over the pair bound.
        attack: steps of the search for counterexamples, or None.
        cross_check: how many images independent solvers answer again, or None.
        certificate: whether to derive everything anew in exact arithmetic, to be written down.
        witness_dir: where reproducers, and images that contradict a bound, are kept.
        allow_unknown: whether UNKNOWN counts as success.
    """

    data: Path | None = None
    arch: str | None = None
    key: str | None = None
    prefix: str = ""
    assume: Fraction | None = None
    backend: str = "auto"
    forward: str = "model"
    batch_size: int | None = None
    pair_bound: bool = False
    attack: int | None = None
    cross_check: int | None = None
    certificate: bool = False
    witness_dir: Path = Path("robspec-out")
    allow_unknown: bool = False

    def __post_init__(self) -> None:
        if self.cross_check is not None:
            extras.require("oracle", "--cross-check")
        if self.certificate and self.attack is not None:
            raise OptionValueError(
                "--certificate", "a certificate holds no attack", "leave out --attack, or check twice"
            )
        if self.certificate and self.batch_size is not None and self.batch_size > MOST_AT_ONCE:
            refused = f"`robspec recheck` takes at most {MOST_AT_ONCE} images at once"
            raise OptionValueError("--batch-size", refused, "choose fewer, or leave out --certificate")


@dataclass(frozen=True, slots=True)
class Finished:
    """What a check comes to.

    Args:
        report: everything found, with its provenance.
        certificate: what `robspec recheck` confirms; None where it was not asked for, or the check did not end well.
    """

    report: CheckReport
    certificate: str | None


class Check:
    """One check; a context, as images that a search finds lie in a folder of its own until it is left.

    Args:
        program: the compiled specification.
        source: its text.
        diagnostics: warnings about it.
        model: the model file.
        spec: the specification's file, whose folder the data globs start from.
        options: the rest.

    Raises:
        RobspecError: the model, the data or an option is wrong.
    """

    def __init__(
        self,
        program: Program,
        source: Source,
        diagnostics: Sequence[Diagnostic],
        model: Path,
        spec: Path,
        options: Options,
    ) -> None:
        self._program, self._source, self._diagnostics = program, source, tuple(diagnostics)
        self._model, self._spec, self._options = model, spec, options
        self._session: Session = open_session(
            program,
            model,
            spec,
            data=options.data,
            arch=options.arch,
            key=options.key,
            prefix=options.prefix,
            assume=options.assume,
            backend=options.backend,
            forward=options.forward,
        )
        self._size = options.batch_size or default_batch_size(program.model)
        self._kept = ExitStack()
        self._written: Certificate | None = None

    def __enter__(self) -> Check:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.close()

    def run(self, progress: Progress = silent) -> CheckReport:
        """Answer every property, and look again at what was answered.

        Args:
            progress: shows how far it is.

        Returns:
            The report without its provenance; incomplete when interrupted by SIGINT or SIGTERM.

        Raises:
            RobspecError: an image is wrong, or a bound does not hold (E0901).
        """
        program, session, options = self._program, self._session, self._options
        collected = None
        if options.cross_check is not None:
            constants = session.established.constants
            collected = CrossCheck(program, constants, session.backend, options.cross_check, len(session.data))
        if options.certificate:
            inputs = Inputs(options.forward, self._size, options.assume)
            self._written = Certificate(program, session, inputs, self._source.text)
        observers = [o.observe for o in (collected, self._written) if o is not None]

        def observe(context: Context, names: Sequence[str], answers: Answers) -> None:
            for look in observers:
                look(context, names, answers)

        def run(told: Callable[[int], None]) -> CheckReport:
            return check(
                program,
                session.model,
                session.data,
                session.backend,
                session.established,
                batch_size=self._size,
                pair_bound=options.pair_bound,
                attacker=self._attacker(),
                progress=told,
                observe=observe,
                times=session.times,
                watch=Conduct(session.model, scores=program.model.task.scores),
            )

        report = progress(run, len(session.data), "checking")
        if collected is not None and options.cross_check is not None:
            report = cross_checked(report, collected, options.cross_check, options.witness_dir, progress)
        parts = (session.model, session.model.program, session.data, session.backend, session.established)
        return explained(report, *parts, self._size, str(self._model) if options.arch is None else None)

    def finish(self, report: CheckReport) -> Finished:
        """Say what was checked, and write the certificate's text.

        Args:
            report: of `run`.

        Raises:
            SoundnessAlarm: exact arithmetic derives something else (E0901).
        """
        session, model = self._session, self._session.model
        noted = warned(self._spec, self._source, self._diagnostics)
        seen = trained.notes(self._program, self._model, model.sha256, session.data) if report.complete else ()
        report = replace(
            report,
            hashes={
                "spec": hashlib.sha256(self._source.text.encode()).hexdigest(),
                "model": model.sha256,
                "data": session.data.digest(),
            },
            files={"spec": str(self._spec), "model": str(self._model)},
            notes=(*report.notes, *session.notes),
            remarks=(*noted, *peeled_notes(model), *session.data.remarks, *seen, *report.remarks),
            allow_unknown=self._options.allow_unknown,
        )
        # Before anything is shown: where exact arithmetic derives something else, no verdict may be.
        derived = None
        if self._written is not None and report.exit_status() not in (4, stopping.STATUS):
            derived = self._written.text(report)
        return Finished(report, derived)

    def _attacker(self) -> Attacker | None:
        if self._options.attack is None:
            return None
        finds = self._kept.enter_context(tempfile.TemporaryDirectory(prefix="robspec-attack-"))
        parts = (self._program, self._session.model, self._session.backend, self._options.attack)
        return Attacker(*parts, Path(finds), self._options.witness_dir)
