"""The check as one piece of work: options in, a report out, whoever asks."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from robspec import extras, stopping
from robspec.bounds.context import Context
from robspec.data.batching import default_batch_size
from robspec.diagnostics import Diagnostic, Source
from robspec.diagnostics.suggest import did_you_mean
from robspec.ir.types import Program
from robspec.kernels import coarse
from robspec.lipschitz.rounding.kinds import KINDS
from robspec.models import claims
from robspec.models.choice import WHOLE, Choice
from robspec.models.conduct import Conduct, peeled_notes
from robspec.models.conduct_scores import DetectorConduct
from robspec.notes import Note
from robspec.session import device as devices
from robspec.session import trained
from robspec.session.covered import refuse, refuse_far, refuse_uncovered, unreal
from robspec.session.errors import ModelIsAnother
from robspec.session.opening import Session, first_images, open_session
from robspec.session.progress import Progress, quiet, silent
from robspec.session.remembered import identity
from robspec.session.reopening import reopened
from robspec.session.warned import warned
from robspec.store import Store
from robspec.store.remembering import Remembering
from robspec.verify import attacks
from robspec.verify.attacks import DEFAULT
from robspec.verify.errors import OptionValueError
from robspec.verify.found import portable
from robspec.verify.result import CheckReport, PropertyResult, Verdict
from robspec.verify.run import Answers, LogitsModel, Watch, check, nowhere

# What only an option asks for is imported when it is given: a check begins sooner.
if TYPE_CHECKING:
    from robspec.session.certificate import Certificate
    from robspec.session.cluster import Cluster
    from robspec.session.crew import Crew
    from robspec.session.worker import Setup
    from robspec.verify.crosscheck import CrossCheck
    from robspec.verify.crosscheck_objects import ObjectsCrossCheck


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
        arithmetic: "exact" takes the forward pass as exact; "real" and "deployed" prove what rounding may change, of
            the function over the reals and of the float32 program. None is "real" where that can be had, and else
            "exact", with the reason in the report.
        batch_size: images per forward pass, or None.
        pair_bound: whether to say what water filling gains over the pair bound.
        attack: steps of the search for counterexamples, or None.
        attack_methods: how it searches, by name.
        attack_restarts: how many starts of each image and method.
        attack_all: whether images are attacked too whose verdict cannot change any more.
        attack_seconds: after how many the search stops, or None.
        cross_check: how many images independent solvers answer again, or None.
        certificate: whether to derive everything anew in exact arithmetic, to be written down.
        witness_dir: where reproducers, and images that contradict a bound, are kept.
        allow_unknown: whether UNKNOWN counts as success.
        properties: names of the properties to check; empty for all.
        limit: how many images to look at, the first by name, or None for all.
        pictures: whether to draw the worst images, for a report that shows them.
        picture_folder: where they are drawn large as well, or None.
        region_rest: in pictures, how many pixels of a region may be left when it counts as changed.
        store: the file that logits are kept in and read from, or None; not used with `arch`, whose code nobody knows.
        choice: which part of the model file is meant.
        ignore_claims: whether the specification's Lipschitz claim is left aside, as it is about another model.
        workers: how many further processes run the model, or None for none; with `ray`, how many actors.
        ray: address of the Ray cluster whose actors run the model, or "auto"; None for none.
        coarse: whether bounds look at the logits before a fixed up-sampling that ends the network.
        device: where the model runs: "cpu", "cuda" for the first CUDA device, or one for each worker, "cuda:N", or
            "auto" for "cuda" where torch finds one and else "cpu". Has not been run on a GPU yet.
    """

    data: Path | None = None
    arch: str | None = None
    key: str | None = None
    prefix: str = ""
    assume: Fraction | None = None
    backend: str = "auto"
    forward: str = "model"
    arithmetic: str | None = None
    batch_size: int | None = None
    pair_bound: bool = False
    attack: int | None = None
    attack_methods: tuple[str, ...] = (DEFAULT,)
    attack_restarts: int = 1
    attack_all: bool = False
    attack_seconds: float | None = None
    cross_check: int | None = None
    certificate: bool = False
    witness_dir: Path = Path("robspec-out")
    allow_unknown: bool = False
    properties: tuple[str, ...] = ()
    limit: int | None = None
    pictures: bool = False
    picture_folder: Path | None = None
    region_rest: int = 0
    store: Path | None = None
    choice: Choice = WHOLE
    ignore_claims: bool = False
    workers: int | None = None
    ray: str | None = None
    coarse: bool = False
    device: str = devices.CPU

    def __post_init__(self) -> None:
        devices.refuse_misspelt(self.device)
        if self.arithmetic is not None and self.arithmetic not in KINDS:
            raise OptionValueError(
                "--arithmetic", f"there is no arithmetic {self.arithmetic[:64]!r}", "write exact, real or deployed"
            )
        for name in self.attack_methods:
            if name not in attacks.names():
                mend = did_you_mean(name, attacks.names(), f"choose one of {', '.join(attacks.names())}")
                raise OptionValueError("--attack-method", f"no method is called {name[:64]!r}", mend)
        if self.certificate and (self.limit is not None or self.properties):
            refused = "a certificate is about the whole specification and data set"
            raise OptionValueError("--certificate", refused, "leave out --limit and --property")
        if self.certificate and self.ignore_claims:
            raise OptionValueError(
                "--claims", "a certificate answers the whole specification", "leave out --claims, or --certificate"
            )
        if self.cross_check is not None:
            extras.require("oracle", "--cross-check")
        if self.certificate and self.attack is not None:
            raise OptionValueError(
                "--certificate", "a certificate holds no attack", "leave out --attack, or check twice"
            )
        if self.certificate and self.batch_size is not None:
            from robspec.recheck.recheck import MOST_AT_ONCE

            if self.batch_size > MOST_AT_ONCE:
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
        after: a check of the same model and options on other images, which has said all there is to say of the model.
        beside: why nothing about the reals can be had of images that this check is reported with; or empty.

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
        after: Check | None = None,
        beside: str = "",
    ) -> None:
        program = claims.of_file(chosen(program, options.properties), model)
        self._passed_over = claims.passed_over(program, model, ignored=options.ignore_claims)
        if options.ignore_claims or after is not None:
            program = replace(program, model=replace(program.model, claim=None), privacy=None)
        if options.certificate and program.privacy is not None:
            raise OptionValueError(
                "--certificate",
                "a certificate is derived anew from model and data, and privacy rests on how the model was trained",
                "leave out --certificate, or put the privacy block into a specification of its own",
            )
        if options.device.startswith("cuda"):
            refuse_far(options)
        self._place: devices.Place = devices.place(options.device) if after is None else after._place
        if self._place.far:
            refuse_far(options)
        refuse_uncovered(program, options)
        sampled = [p.smoothing is not None for p in program.properties]
        if any(sampled):
            refuse(
                replace(options, attack=options.attack if all(sampled) else None),
                "samples prove with a probability and refute nothing, so it has nothing to say of `by smoothing`",
                "leave it out, or write the other properties into a specification of their own",
            )
        self._program, self._source, self._diagnostics = program, source, tuple(diagnostics)
        self._model, self._spec, self._options = model, spec, options
        told: dict[str, Any] = {
            "data": options.data,
            "backend": options.backend,
            "forward": options.forward,
            "arithmetic": options.arithmetic,
            "unreal": beside or unreal(program, options),
            "limit": options.limit,
            "choice": options.choice,
        }
        opening = partial(
            open_session,
            program,
            model,
            spec,
            **told,
            arch=options.arch,
            key=options.key,
            prefix=options.prefix,
            assume=options.assume,
            certified=options.certificate,
            like=None if after is None else after._session,
            coarse=options.coarse,
            device=self._place.name,
        )
        simple = _simple(program, options)
        self._session: Session = reopened(opening, program, model, spec, **told) if simple else opening()
        if after is not None and after._session.model.sha256 != self._session.model.sha256:
            raise ModelIsAnother(str(model), f"it changed after it was read for data {after.data_name}")
        self._promised = None
        if program.privacy is not None:
            from robspec.session import promised

            self._promised = promised.decide(program.privacy, model, self._session.model)
        self._size = options.batch_size or default_batch_size(program.model)
        self._kept = ExitStack()
        self._crew: Crew | Cluster | None = None if after is None else after._crew
        if self._crew is None and (options.workers is not None or options.ray is not None):
            self._crew = _crew(options, _setup(options, model, self._session, self._place))
            self._kept.callback(self._crew.close)
        self._written: Certificate | None = None
        self.known = 0
        """Batches whose logits were in the store."""

    def __enter__(self) -> Check:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of workers and of what a search found."""
        self._kept.close()

    @property
    def data_name(self) -> str:
        """What the specification calls the data set."""
        return self._program.data.name

    @property
    def unreal(self) -> str:
        """Why the forward pass is taken as exact where nobody asked for that; else empty."""
        return self._session.established.unreal

    @property
    def images(self) -> int:
        """How many images are looked at."""
        return len(self._session.data)

    def run(self, progress: Progress = silent, told: Callable[[str], None] = quiet) -> CheckReport:
        """Answer every property, and look again at what was answered.

        Args:
            progress: shows how far it is.
            told: takes a line on what begins and may take long.

        Returns:
            The report without its provenance; incomplete when interrupted by SIGINT or SIGTERM.

        Raises:
            RobspecError: an image is wrong, the memory of a device too small, or a bound does not hold (E0901).
        """
        with devices.current(self._place.name), devices.enough(self._place.name):
            return self._run(progress, told)

    def _run(self, progress: Progress, told: Callable[[str], None]) -> CheckReport:
        program, session, options = self._program, self._session, self._options
        if options.coarse and coarse.to_compile(session.backend.name):
            told("compiling the kernels of --coarse, which are kept for the next run")
        if self._crew is not None:  # what is computed here must be what a worker would compute
            import torch

            self._kept.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(self._crew.threads)
        collected: CrossCheck | ObjectsCrossCheck | None = None
        if options.cross_check is not None:
            from robspec.verify.crosscheck import CrossCheck
            from robspec.verify.crosscheck_objects import ObjectsCrossCheck

            constants, few = session.established.constants, (options.cross_check, len(session.data))
            if program.model.detector is None:
                collected = CrossCheck(program, constants, session.backend, *few)
            else:
                collected = ObjectsCrossCheck(program, constants, *few)
        if options.certificate:
            from robspec.recheck.assemble import Inputs
            from robspec.session.certificate import Certificate

            inputs = Inputs(
                options.forward,
                self._size,
                options.assume,
                arithmetic=session.arithmetic,
                coarse=options.coarse,
            )
            self._written = Certificate(program, session, inputs, self._source.text)
        drawn = options.pictures and any(p.smoothing is None for p in program.properties)
        shown = (program, session.established.constants, session.data, options.picture_folder, options.region_rest)
        gallery = None
        if drawn:
            from robspec.session.gallery import Gallery

            gallery = Gallery(*shown)
        observers = [o.observe for o in (collected, self._written, gallery) if o is not None]
        near = bool(observers) or not portable(program, coarse=options.coarse)

        def observe(context: Context, names: Sequence[str], answers: Answers) -> None:
            for look in observers:
                look(context, names, answers)

        detector, store = program.model.detector, None
        # Of bare weights nobody knows the code, and logits of a GPU are never taken for those of a CPU.
        if options.store is not None and options.arch is None and not self._place.far:
            store = Store(options.store)
            self._kept.callback(store.close)
        # Of a detector two outputs would have to be kept.
        remembers = store is not None and detector is None
        known = dict(session.identity or identity(session.runs)) if remembers else {}
        plain = session.identity is not None
        kept = Remembering(session.runs, store, known, plain=plain) if store and remembers else None
        model, crew, apart = kept or session.runs, self._crew, session.established.apart
        ahead = None
        if crew is not None:
            from robspec.session.ahead import Ahead
            from robspec.session.job import Job

            job = Job(program, session.established.constants, options.backend, options.pair_bound).text()
            from robspec.data import unread

            parts = (program, session.runs, session.data, crew, kept)
            ahead = Ahead(*parts, apart=apart, job=job, near=near, reading=unread.portable(session.data))
        by_itself = None
        if kept is not None and store is not None:  # not the same one, whose hits are counted
            by_itself = Remembering(session.runs, store, known, plain=plain).logits
        watch: Watch = Conduct(session.runs, scores=program.model.task.scores, answer=by_itself)
        if detector is not None:
            watch = DetectorConduct(session.model, detector, session.model.second)

        def run(told: Callable[[int], None]) -> CheckReport:
            return check(
                program,
                model if ahead is None else ahead,
                session.data if ahead is None else ahead,
                session.backend,
                session.established,
                batch_size=self._size,
                pair_bound=options.pair_bound,
                progress=told,
                observe=observe if observers else None,
                times=session.times,
                watch=watch,
                sampled=session.model,
                sampler=None if ahead is None else ahead.sample,
                elsewhere=nowhere if ahead is None else ahead.found,
            )

        report = progress(run, len(session.data), "checking")
        self.known = 0 if kept is None else kept.hits
        report = self._attacked(report, store, progress, told)
        if gallery is not None:
            report = replace(report, pictures=tuple(gallery.pictures()))
        if collected is not None and options.cross_check is not None:
            from robspec.session.cross_check import cross_checked

            report = cross_checked(report, collected, options.cross_check, options.witness_dir, progress)
        if any(r.verdict is Verdict.UNKNOWN for p in report.properties for r in p.requirements):
            from robspec.verify.gap import explained

            session = session.opened
            runs = session.runs if kept is None or store is None else Remembering(session.runs, store, known)
            rest = (session.model.program, session.data, session.backend, session.established)
            # What `robspec lipschitz` takes: neither bare weights nor two outputs.
            alone = str(self._model) if options.arch is None and detector is None else None
            report = explained(report, cast("LogitsModel", runs), *rest, self._size, alone)
        if store is not None and store.trouble:
            off = Note("store-off", str(options.store), f"logits are not kept: {store.trouble}", {})
            report = replace(report, remarks=(*report.remarks, off))
        return report

    def finish(self, report: CheckReport) -> Finished:
        """Say what was checked, and write the certificate's text.

        Args:
            report: of `run`.

        Raises:
            SoundnessAlarm: exact arithmetic derives something else (E0901).
        """
        session, model = self._session, self._session.model
        noted = warned(self._spec, self._source, self._diagnostics)
        if session.left_out:
            part = f" (of the first {len(session.data)} of {len(session.data) + session.left_out} images)"
            report = replace(report, properties=tuple(replace(p, part=part) for p in report.properties))
        seen = trained.notes(self._program, self._model, model.sha256, session.data) if report.complete else ()
        said = (*self._passed_over, *_left_out(self._program))
        report = replace(
            report,
            hashes={
                "spec": hashlib.sha256(self._source.text.encode()).hexdigest(),
                "model": model.sha256,
                "data": session.data.digest(),
            },
            files={"spec": str(self._spec), "model": str(self._model)},
            device=self._place.name,
            notes=(*report.notes, *filter(None, [self._place.told]), *session.notes),
            remarks=(*noted, *said, *peeled_notes(model), *session.data.remarks, *seen, *report.remarks),
            allow_unknown=self._options.allow_unknown,
            privacy=self._promised,
            arithmetic=session.arithmetic,
        )
        # Before anything is shown: where exact arithmetic derives something else, no verdict may be.
        derived = None
        if self._written is not None and report.exit_status() not in (4, stopping.STATUS):
            derived = self._written.text(report)
        return Finished(report, derived)

    def at_measured(self) -> tuple[dict[str, Fraction], tuple[PropertyResult, ...]]:
        """Evaluate every bound at the slope that was measured; see `robspec.session.decomposed`."""
        session = self._session
        from robspec.session.decomposed import at_measured

        starts = first_images(session.data, self._program)
        established = replace(session.established, tail=None)
        parts = (session.model, session.data, session.backend, established)
        return at_measured(self._program, *parts, starts, self._size)

    def _attacked(
        self, report: CheckReport, store: Store | None, progress: Progress, told: Callable[[str], None]
    ) -> CheckReport:
        """Attack what is not decided yet, where that was asked for."""
        options, session = self._options, self._session
        if options.attack is None or not report.complete:
            return report
        from robspec.store.proposals import Proposals
        from robspec.verify.attack import Attacker
        from robspec.verify.attacked import announced, attacked, planned
        from robspec.verify.effort import Effort

        finds = self._kept.enter_context(tempfile.TemporaryDirectory(prefix="robspec-attack-"))
        methods = tuple(dict.fromkeys(options.attack_methods))
        given = (options.attack, methods, options.attack_restarts, options.attack_all, options.attack_seconds)
        far = self._place.far
        runs = devices.Near(session.model) if far else session.model
        parts = (self._program, runs, session.backend, Effort(*given))
        known = None if store is None else Proposals(store, identity(session.model))
        # Gradients are taken in the model's own type, whatever verdicts are about: what they lead to is judged anew.
        narrow = session.model.run_in(session.model.dtype)
        by = devices.Near(narrow) if far else narrow
        attacker = Attacker(*parts, Path(finds), options.witness_dir, known, by)
        self._kept.callback(attacker.close)
        plan = planned(report, attacker)
        if plan.searches:
            told(announced(plan, attacker, session.data))
        return progress(
            lambda finished: attacked(report, attacker, session.data, told=finished), plan.searches, "attacking"
        )


def _simple(program: Program, options: Options) -> bool:
    """Whether logits that are kept may be all that is needed of the model, in a process that has not imported torch.

    Where it has, somebody may have told it something that decides logits, such as a number of threads.
    """
    asked = (options.arch, options.assume, options.workers, options.ray, options.attack, options.cross_check)
    rest = options.certificate or options.pictures or options.coarse or options.arithmetic == "deployed"
    model = program.model
    return (
        "torch" not in sys.modules
        and options.store is not None
        and options.device == devices.CPU
        and not rest
        and all(option is None for option in asked)
        and model.detector is None
        and program.privacy is None
        and all(p.smoothing is None for p in program.properties)
    )


def _setup(options: Options, model: Path, session: Session, place: devices.Place) -> Setup:
    """Say what is to be loaded by what runs the model beside this process."""
    from robspec.lipschitz.cache import key
    from robspec.semantics.norm import L2
    from robspec.session.crew import threads
    from robspec.session.worker import Setup

    wanted = {**session.wanted, "device": place.shared}
    setup = Setup(model, session.model.sha256, wanted, threads())
    # Each batch says whether it is looked up. Other machines have no store of this one, and of a GPU nothing is kept.
    kept = options.store is not None and options.ray is None and not place.far
    store = options.store.resolve() if kept and options.store else None
    return replace(setup, function=key(session.model.program, L2, L2), coarse=options.coarse, store=store)


def _crew(options: Options, setup: Setup) -> Crew | Cluster:
    """Start what runs the model beside this process."""
    if options.ray is None:
        from robspec.session.crew import Crew

        return Crew(options.workers or 1, setup)
    from robspec.session.cluster import Cluster

    return Cluster(options.ray, options.workers, setup)


def chosen(program: Program, names: Sequence[str]) -> Program:
    """Keep the properties asked for, in the order of the specification.

    Raises:
        OptionValueError: E0601, there is none of that name.
    """
    known = [p.name for p in program.properties]
    for name in names:
        if name not in known:
            mend = did_you_mean(name, known, f"choose among {', '.join(known)}")
            raise OptionValueError("--property", f"the specification has no property {name[:64]!r}", mend)
    if not names:
        return program
    return replace(program, properties=tuple(p for p in program.properties if p.name in names))


def _left_out(program: Program) -> tuple[Note, ...]:
    if not program.left_out:
        return ()
    text = f"not looked at, as they are about other data sets: {', '.join(program.left_out)}"
    return (Note("property-left-out", f"data {program.data.name}", text, {"properties": program.left_out}),)
