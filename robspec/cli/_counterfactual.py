"""Opens what counterfactuals are searched for with, and goes through the images."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from robspec.cli._options import positive_decimal
from robspec.diagnostics import SpecError, did_you_mean
from robspec.explanations import pictures, report
from robspec.explanations.attribution import require_captum
from robspec.explanations.decision import Decision
from robspec.explanations.errors import AlreadyViolated, NoQuestion
from robspec.explanations.explain import Explained, Explainer, Subject
from robspec.explanations.maps import Mapped, mapped
from robspec.explanations.maps import entry as map_entry
from robspec.explanations.maps import line as map_line
from robspec.explanations.maps import write as write_maps
from robspec.explanations.panels import shown
from robspec.explanations.question import objective_of
from robspec.explanations.search import ROUNDS, Effort
from robspec.explanations.subjects import read_alone, read_from
from robspec.ir.types import Program, Property, RadiusQuery, Requirement
from robspec.lower import compile_source, parse_overrides
from robspec.models.choice import Choice, read_choice
from robspec.models.conduct import peeled_notes, refuse_statements_about_the_file
from robspec.models.loading import LoadedModel, load
from robspec.semantics.constant import Constant
from robspec.session.opening import open_session
from robspec.syntax.source import read_source
from robspec.verify.backend import choose
from robspec.verify.constant import establish
from robspec.verify.descent import float_range
from robspec.verify.errors import OptionValueError
from robspec.verify.run import match_shapes

MAPS = (
    "maps: of the margins of the pixels that the bound flips; deletion: the area under these margins while pixels "
    "take the mean colour of the image, those first where the map is largest; insertion: while they take their own "
    "again"
)
_PIXEL = re.compile(r"([0-9]{1,9}),([0-9]{1,9})", re.ASCII)
_ENDS = re.compile(r"(-?[0-9]{1,20}(?:\.[0-9]{1,40})?),(-?[0-9]{1,20}(?:\.[0-9]{1,40})?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that say what is asked, as given."""

    spec: Path | None
    name: str | None
    requirement: int | None
    point: int | None
    to: str | None
    pixel: str | None
    ends: str | None
    data: Path | None
    overrides: tuple[str, ...]
    use: str | None
    model_output: str | None
    given: str | None
    fixed: tuple[str, ...]
    arch: str | None
    assume_lipschitz: str | None
    steps: int
    seed: int
    methods: tuple[str, ...]
    beside: Path | None

    @property
    def choice(self) -> Choice:
        """Which part of the model file is meant."""
        return read_choice(self.model_output, self.given, self.fixed)


@dataclass(frozen=True, slots=True)
class Job:
    """A question and the images it is put to.

    Args:
        explainer: puts it.
        subjects: the images.
        mapped: models by file whose attribution maps are made, the one explained first.
        methods: of the maps; empty for none.
        facts: of the report.
        notes: what is taken for granted.
    """

    explainer: Explainer
    subjects: Sequence[Subject]
    mapped: Mapping[str, LoadedModel]
    methods: tuple[str, ...]
    facts: Mapping[str, Any]
    notes: tuple[str, ...]


def opened(model: Path, images: Sequence[str], asked: Asked) -> Job:
    """Open model, specification and images, cheapest checks first.

    Raises:
        RobspecError: one of them or an option is wrong.
    """
    _refuse_combinations(asked)
    if asked.methods:
        require_captum()
    assume = _assumed(asked)
    program = None if asked.spec is None else _compiled(asked.spec, asked.overrides, asked.use)
    effort = Effort(asked.steps, asked.seed)
    if asked.spec is not None and program is not None and asked.name is not None:
        prop = _property(program, asked.name, str(asked.spec))
        chosen = _requirement(prop, asked), _point(prop, asked)
        objective_of(prop, *chosen, f"property {prop.name}")
        if prop.smoothing is not None:
            what = f"{prop.name} is about the vote under noise, and a counterfactual is about the network itself"
            raise OptionValueError("--property", what, "name a property without `by smoothing`")
        program = program.alone(prop)
        only = replace(program, model=replace(program.model, claim=None))
        (prop,) = only.properties
        session = open_session(
            only,
            model,
            asked.spec,
            data=asked.data,
            arch=asked.arch,
            key=None,
            prefix="",
            assume=assume,
            backend="auto",
            forward="model",
            choice=asked.choice,
        )
        subjects = read_from(session.data, images)
        (constant,) = session.established.constants
        return _job(session.model, constant, (prop, *chosen), program, subjects, effort, asked)
    if program is not None and program.model.sides:
        raise NoQuestion(
            str(asked.spec),
            "the output is a score, to be ranked or compared with a threshold, and decides nothing by itself",
            "leave --spec out if the sign of what the model returns is the decision",
        )
    low, high = _range(program, asked.ends)
    shape = None if program is None else program.model.input_shape
    normalize = None if program is None else program.model.normalize
    loaded = load(model, arch=asked.arch, input_shape=shape, normalize=normalize, choice=asked.choice)
    if program is not None:
        match_shapes(program, loaded, str(model))
    refuse_statements_about_the_file(loaded, claims=False, assumes=assume is not None)
    decision = Decision(_class(asked.to, program), _pixel(asked.pixel))
    question = decision.program(loaded.input_shape, loaded.output_shape)
    if program is not None:
        question = replace(question, model=replace(program.model, claim=None))
    steps = () if program is None else program.data.steps
    subjects = [read_alone(name, loaded.input_shape, low, high, steps) for name in images]
    (constant,) = establish(question, loaded.program, assume=assume).constants
    return _job(loaded, constant, decision, program, subjects, effort, asked)


def _job(
    loaded: LoadedModel,
    constant: Constant,
    what: tuple[Property, Requirement | None, int] | Decision,
    program: Program | None,
    subjects: Sequence[Subject],
    effort: Effort,
    asked: Asked,
) -> Job:
    count = max(loaded.output_shape[0], 2)
    classes = tuple(f"class {k}" for k in range(count)) if program is None else program.model.classes
    ends = float_range(*_range(program, asked.ends))
    models = (loaded, loaded.in_double())
    explainer = Explainer(models, constant, what, classes, choose("auto"), ends, effort)
    facts = {
        "model": str(loaded.path),
        "sha256": loaded.sha256,
        "spec": None if asked.spec is None else str(asked.spec),
        "property": asked.name,
        "steps": effort.steps,
        "seed": effort.seed,
    }
    compared = {str(loaded.path): loaded}
    if asked.beside is not None:
        twin = load(asked.beside, normalize=loaded.normalize, input_shape=loaded.input_shape)
        if (twin.input_shape, twin.output_shape) != (loaded.input_shape, loaded.output_shape):
            raise OptionValueError(
                "--beside",
                f"{asked.beside} maps {list(twin.input_shape)} to {list(twin.output_shape)}, the model "
                f"{list(loaded.input_shape)} to {list(loaded.output_shape)}",
                "name a model of the same shapes",
            )
        compared[str(asked.beside)] = twin
    found = [note for model in compared.values() for note in peeled_notes(model)]
    notes = (*report.NOTES, *((MAPS,) if asked.methods else ()), *map(str, found))
    return Job(explainer, subjects, compared, asked.methods, facts, notes)


def _refuse_combinations(asked: Asked) -> None:
    """Refuse options that have no meaning beside, or without, each other."""
    decides = {"--to": asked.to, "--pixel": asked.pixel}
    measures = {"--requirement": asked.requirement, "--point": asked.point, "--data": asked.data}
    if asked.spec is None:
        given = {"--set": asked.overrides or None, "--use": asked.use, "--arch": asked.arch}
        needs = {"--property": asked.name, **measures, **given}
        for option in (o for o, value in needs.items() if value is not None):
            raise OptionValueError(option, "it has no meaning without a specification", "name one with --spec")
    elif asked.ends is not None:
        raise OptionValueError("--range", "the specification says the range already", "leave --range out")
    if asked.beside is not None and not asked.methods:
        raise OptionValueError("--beside", "only attribution maps are compared", "name a map with --attribution")
    for option in (o for o, value in (decides if asked.name else measures).items() if value is not None):
        other = "a property says what is asked" if asked.name else "it is about a property"
        raise OptionValueError(option, other, "leave it out" if asked.name else "name one with --property")


def _assumed(asked: Asked) -> Fraction | None:
    text = asked.assume_lipschitz
    return None if text is None else positive_decimal("--assume-lipschitz", text)


def _compiled(spec: Path, overrides: Sequence[str], use: str | None) -> Program:
    source = read_source(spec)
    program, diagnostics = compile_source(source, parse_overrides(overrides), use)
    if program is None:
        raise SpecError(diagnostics, source)
    return program


def _property(program: Program, name: str, where: str) -> Property:
    known = {p.name: p for p in program.properties}
    if name not in known:
        mend = did_you_mean(name[:60], known, f"choose one of {', '.join(known)}")
        raise OptionValueError("--property", f"{where} has no property {name[:60]!r}", mend)
    return known[name]


def _requirement(prop: Property, asked: Asked) -> Requirement | None:
    if asked.requirement is None:
        return None
    if isinstance(prop.query, RadiusQuery):
        raise OptionValueError(
            "--requirement", f"{prop.name} says itself what degraded means", "leave --requirement out"
        )
    return prop.requirements[_index("--requirement", asked.requirement, len(prop.requirements), prop)]


def _point(prop: Property, asked: Asked) -> int:
    if asked.point is None:
        return 0
    if not isinstance(prop.query, RadiusQuery):
        raise OptionValueError("--point", f"{prop.name} sweeps no threshold", "leave --point out")
    return _index("--point", asked.point, len(prop.query.objectives), prop)


def _index(option: str, number: int, count: int, prop: Property) -> int:
    if number > count:
        raise OptionValueError(option, f"{prop.name} has {count}", f"choose one of 1 to {count}")
    return number - 1


def _class(text: str | None, program: Program | None) -> int | None:
    if text is None:
        return None
    names = () if program is None else program.model.classes
    if text in names:
        return names.index(text)
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        return int(text)
    otherwise = f"choose one of {', '.join(names)[:200]}" if names else "write its number, or name it with --spec"
    raise NoQuestion("--to", f"there is no class {text[:60]!r}", did_you_mean(text, names, otherwise))


def _pixel(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = _PIXEL.fullmatch(text)
    if match is None:
        raise OptionValueError("--pixel", f"{text[:64]!r} is no pixel", "write row and column, such as 12,40")
    return int(match[1]), int(match[2])


def _range(program: Program | None, text: str | None) -> tuple[Fraction, Fraction]:
    if program is not None:
        return program.model.low, program.model.high
    match = _ENDS.fullmatch("0,1" if text is None else text)
    low, high = (Fraction(match[1]), Fraction(match[2])) if match else (Fraction(0), Fraction(0))
    if low >= high:
        raise OptionValueError("--range", f"{(text or '')[:64]!r} is no range", "write two numbers, such as 0,255")
    return low, high


@dataclass(slots=True)
class Run:
    """Goes through the images of a job and keeps what was found.

    Args:
        job: what is asked.
        form: "text" or "json".
        results: of the images that are finished.
        maps: theirs.
        failed: of images about which there was nothing to ask.
    """

    job: Job
    form: str
    results: list[Explained] = field(default_factory=list)
    maps: list[list[Mapped]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """How many steps of progress an image is."""
        return ROUNDS

    @property
    def status(self) -> int:
        """2 where an image is its own counterfactual, 3 where none was found for one, else 0."""
        if self.failed:
            return 2
        return 3 if any(r.found is None for r in self.results) else 0

    def all(self, progress: Callable[[float], None]) -> None:
        """Explain every image; one that is its own counterfactual does not keep the others from being explained.

        Raises:
            RobspecError: an image about which nothing can be asked, of a lone image also E0851.
        """
        for subject in self.job.subjects:
            try:
                found = self.job.explainer.explain(subject, progress)
                maps = self._mapped(found)
                self.results.append(found)
                self.maps.append(maps)
            except AlreadyViolated as error:
                if len(self.job.subjects) == 1:
                    raise
                click.echo(str(error), err=True)
                self.failed.append({"image": subject.name, "code": error.code, "reason": error.what})
                progress(ROUNDS)

    def _mapped(self, found: Explained) -> list[Mapped]:
        job = self.job
        return mapped(found, job.mapped, job.methods, job.explainer.ends, job.explainer.effort.seed)

    def text(self) -> str:
        """What is printed."""
        if self.form == "json":
            return json.dumps(self.document(), indent=2, allow_nan=False) + "\n"
        lines = []
        for result, maps in zip(self.results, self.maps, strict=True):
            lines.append(f"{report.line(result)}\n")
            scale = pictures.scale_of(result)
            if scale:
                lines.append(f"  change: white +{scale:g}, black -{scale:g}\n")
            lines.extend(f"  {map_line(item)}\n" for item in maps)
        return "".join(lines) + report.text(self.results, self.job.explainer.constant, self.job.notes)

    def document(self) -> dict[str, Any]:
        """The JSON document."""
        folders = self._folders()
        extra = [
            {"folder": folder, "change_scale": pictures.scale_of(r), "attributions": [map_entry(m) for m in maps]}
            for r, maps, folder in zip(self.results, self.maps, folders, strict=True)
        ]
        job = self.job
        return report.document(self.results, job.explainer.constant, job.notes, job.facts, extra, self.failed)

    def write(self, folder: Path) -> None:
        """Write pictures, arrays and report into a folder."""
        ends = self.job.explainer.ends
        for result, maps, name in zip(self.results, self.maps, self._folders(), strict=True):
            place = folder / name
            place.mkdir()
            pictures.write(result, ends, place)
            if maps:
                write_maps(maps, shown(result.subject.image[0].numpy(), ends), place)
        text = json.dumps(self.document(), indent=2, allow_nan=False) + "\n"
        (folder / "counterfactual.json").write_text(text, encoding="utf-8")

    def _folders(self) -> list[str]:
        return pictures.folder_names([r.subject.name for r in self.results])
