"""`robspec check`: prove the properties of a specification for a model on a data set."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import click

from robspec import stopping
from robspec.cli import _options
from robspec.cli._proving import proving
from robspec.diagnostics import SpecError, render_all
from robspec.session import beside
from robspec.syntax.source import read_source


@click.command("check", short_help="Prove the properties of a specification for a model.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Folder the data globs start from [the spec's folder].")
@click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="Override a param; repeatable.")
@click.option(
    "--format",
    "form",
    default="text",
    help="Output format: text, json, junit, sarif, github, gitlab, markdown or html.  [text]",
)
@click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="[FORMAT=]FILE",
    help="Write the report here: FILE in --format and instead of standard output, FORMAT=FILE beside it; repeatable.",
)
@click.option(
    "--region-rest",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="In pictures, a region counts as changed when at most N of its pixels are left.  [0]",
)
@click.option("--property", "properties", multiple=True, metavar="NAME", help="Check only this property; repeatable.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Look at the first N images; exit 3 if proved."
)
@click.option("--quiet", "-q", is_flag=True, help="No report on standard output and no progress; files are written.")
@click.option("--verbose", "-v", is_flag=True, help="List every image's values after a text report.")
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Fail only on what is worse than in this JSON report.",
)
@click.option("--store", type=click.Path(path_type=Path), help="Keep logits here.  [the user's cache]")
@click.option("--no-store", is_flag=True, help="Compute every logit anew, and keep none.")
@click.option("--resume", is_flag=True, help="Say how much of a stopped run was kept; it is used in any case.")
@click.option("--update-baseline", is_flag=True, help="Write this check's JSON report to --baseline when it is done.")
@click.option("--backend", default="auto", help="Kernel backend: auto, cpu, numpy, reference or triton.  [auto]")
@click.option("--arch", metavar="PACKAGE.MODULE:FACTORY", help="Architecture of a bare state_dict (runs your code).")
@click.option("--key", metavar="NAME", help="With --arch: the table of weights in a checkpoint, such as state_dict.")
@click.option(
    "--strip-prefix", "prefix", default="", metavar="PREFIX", help="With --arch: what weights' names have more."
)
@_options.use
@_options.model_part
@click.option(
    "--claims",
    type=click.Choice(["check", "ignore"]),
    default="check",
    help="`ignore`: another model's claim.  [check]",
)
@click.option("--assume-lipschitz", metavar="C", help="Stand on this l2 constant where none can be proved.")
@click.option(
    "--forward",
    type=click.Choice(["model", "float64"]),
    default="model",
    help="Run the model in its own dtype, or in float64.  [model]",
)
@click.option(
    "--arithmetic",
    type=click.Choice(["exact", "real", "deployed"]),
    help="`real`, `deployed`: prove what rounding may change.  [real where it can be had, else exact, and why]",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Images per forward pass.")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Run the model and find bounds in N processes of one thread each.",
)
@click.option("--ray", metavar="auto|ADDRESS", help="Run the model in actors of a Ray cluster, --workers N of them.")
@click.option(
    "--device",
    default="cpu",
    metavar="auto|cpu|cuda[:N]",
    help="Run the model there, on a GPU taken as exact; written for GPUs and not yet run on one.  [cpu]",
)
@click.option("--pair-bound", is_flag=True, help="Report what water filling gains over the pair bound.")
@click.option("--coarse", is_flag=True, help="Bound pixels by the logits before a last fixed up-sampling too.")
@click.option(
    "--attack",
    type=click.IntRange(1, 10_000),
    metavar="STEPS",
    help="Search for counterexamples to what is not decided, STEPS gradients for each image; not with --certificate.",
)
@_options.attacking
@click.option("--attack-all", is_flag=True, help="Attack images too whose verdict cannot change any more.")
@click.option(
    "--cross-check", type=click.IntRange(min=1), metavar="N", help="Solve N images again, by independent solvers."
)
@click.option(
    "--certificate",
    type=click.Path(path_type=Path),
    help="Write what `robspec recheck` can check again here; not with --attack.",
)
@click.option("--watch", is_flag=True, help="Check again whenever SPEC or MODEL changes, until Ctrl-C.")
@click.option("--allow", type=click.Choice(["unknown"]), help="`unknown`: exit 0 instead of 3.")
@click.option(
    "--fail-on",
    type=click.Choice(["unknown", "refuted"]),
    default="unknown",
    help="`refuted`: exit 0 instead of 3, as --allow unknown.  [unknown]",
)
@click.option(
    "--witness-dir",
    type=click.Path(path_type=Path),
    default=Path("robspec-out"),
    show_default=True,
    help="Where refutations are written.",
)
def command(
    model: Path,
    spec: Path,
    data: Path | None,
    overrides: tuple[str, ...],
    use: str | None,
    form: str,
    outputs: tuple[str, ...],
    region_rest: int,
    properties: tuple[str, ...],
    limit: int | None,
    quiet: bool,
    verbose: bool,
    baseline: Path | None,
    store: Path | None,
    no_store: bool,
    resume: bool,
    update_baseline: bool,
    backend: str,
    arch: str | None,
    key: str | None,
    prefix: str,
    model_output: str | None,
    given: str | None,
    fixed: tuple[str, ...],
    claims: str,
    assume_lipschitz: str | None,
    forward: str,
    arithmetic: str | None,
    batch_size: int | None,
    workers: int | None,
    ray: str | None,
    device: str,
    pair_bound: bool,
    coarse: bool,
    attack: int | None,
    attack_methods: tuple[str, ...],
    attack_restarts: int | None,
    attack_seconds: float | None,
    attack_all: bool,
    cross_check: int | None,
    certificate: Path | None,
    watch: bool,
    allow: str | None,
    fail_on: str,
    witness_dir: Path,
) -> int:
    """Prove every property of SPEC for MODEL on its data set.

    MODEL is a torch.export archive (`robspec export` writes one) or an ONNX file. Each property ends as PROVED,
    REFUTED (a witness is written) or UNKNOWN with the gap between what is certified and what was attained.

    \b
    Exit status: 0 all proved; 1 something refuted; 2 bad specification, model or
    data; 3 nothing refuted but something unknown; 4 soundness alarm or internal
    error; 130 stopped by SIGINT or SIGTERM, finished images kept in the report.

    \b
    Example:
      robspec check specs/runway/runway.pt2 specs/runway/runway.rspec
    """
    if watch:
        from robspec.cli import _watching

        arguments = {**click.get_current_context().params, "watch": False}
        return _watching.watch(command, arguments, (spec, model))
    from robspec.lower import compile_source, parse_overrides

    _options.check_format(form)
    output, others = _options.outputs(outputs)
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose contradict each other")
    if no_store and (store is not None or resume):
        raise click.UsageError("--no-store contradicts --store and --resume")
    if update_baseline and baseline is None:
        raise click.UsageError("--update-baseline writes to the file that --baseline names")
    _options.check_architecture(arch, key, prefix)
    assume = None if assume_lipschitz is None else _options.positive_decimal("--assume-lipschitz", assume_lipschitz)
    for path in (output, certificate, baseline if update_baseline else None, *(p for _, p in others)):
        if path is not None:
            _options.check_writable(path)
    _options.check_witness_folder(witness_dir)
    pages = [p for f, p in ((form, output), *others) if f == "html" and p is not None]
    # A page that is no file has no folder beside it, and of several pages each would need its own.
    pictures = beside.folder_of(pages[0]) if len(pages) == 1 else None
    if pictures is not None:
        beside.check_folder(pictures)
    source = read_source(spec)
    program, diagnostics = compile_source(source, parse_overrides(overrides), use)
    if program is None:
        raise SpecError(diagnostics, source)
    if diagnostics and (output is not None or form != "text"):  # a text report here shows them itself
        click.echo(render_all(diagnostics, source, colour=sys.stderr.isatty()), err=True)

    # torch and numba are imported only once the specification is known to be right.
    from robspec.api import load_report
    from robspec.models.choice import read_choice
    from robspec.recheck.document import MOST
    from robspec.report import _images, pieces
    from robspec.session.baseline import compare
    from robspec.session.check import Options
    from robspec.session.progress import silent
    from robspec.session.several import open_check
    from robspec.store import default_path
    from robspec.verify.errors import BadReport, WitnessPathError
    from robspec.verify.witness import write_witnesses

    options = Options(
        data=data,
        arch=arch,
        key=key,
        prefix=prefix,
        assume=assume,
        backend=backend,
        forward=forward,
        arithmetic=arithmetic,
        batch_size=batch_size,
        pair_bound=pair_bound,
        coarse=coarse,
        **_options.attack_of(attack, attack_methods, attack_restarts, attack_seconds, everything=attack_all),
        cross_check=cross_check,
        certificate=certificate is not None,
        witness_dir=witness_dir,
        allow_unknown=allow == "unknown" or fail_on == "refuted",
        properties=properties,
        limit=limit,
        store=None if no_store else store or default_path(),
        pictures="html" in (form, *(other for other, _ in others)),
        picture_folder=pictures,
        region_rest=region_rest,
        choice=read_choice(model_output, given, fixed),
        ignore_claims=claims == "ignore",
        workers=workers,
        ray=ray,
        device=device,
    )
    earlier = None
    if baseline is not None and not update_baseline and not baseline.exists():
        raise BadReport(str(baseline), "there is no such file", "add --update-baseline to write it from this check")
    if baseline is not None and baseline.exists():
        earlier = load_report(baseline)
    with proving():
        work = open_check(program, source, diagnostics, model, spec, options)
    click.get_current_context().with_resource(work)
    report = work.run(silent if quiet else _options.with_progress, _say(quiet=quiet))
    if resume:
        click.echo(f"resumed: the logits of {work.known} batches were kept", err=True)
    # What was found is shown and written whole, whatever signal comes now; a second one ends it.
    with stopping.held():
        finished = work.finish(report)
        report, derived = finished.report, finished.certificate
        compared = None if earlier is None else compare(report, earlier)
        report = report if compared is None else compared.report
        shown = output is None and sys.stdout.isatty()
        text = pieces(form, report, width=_options.terminal_width(), colour=shown)
        if form == "text" and verbose:
            text = itertools.chain(text, (f"{line}\n" for line in ("", *_images.lines(report))))
        if output is not None:
            _options.write_atomically(output, text)
        elif not quiet:
            for piece in text:
                click.echo(piece, nl=False)
        for other, path in others:
            _options.write_atomically(path, pieces(other, report))
        if pictures is not None:
            beside.forget(pictures, {panel.large for p in report.pictures for panel in p.panels})
        if compared is not None:
            for line in (*compared.regressions, *compared.moved):
                click.echo(f"baseline: {line}", err=True)
        part = any(p.part for p in report.properties)
        if update_baseline and baseline is not None and part:
            click.echo(f"baseline not written, as only some images were looked at: {baseline}", err=True)
        elif update_baseline and baseline is not None and report.complete and report.exit_status() != 4:
            _options.write_atomically(baseline, pieces("json", report))
            click.echo(f"baseline written: {baseline}", err=True)
        try:
            for witness in write_witnesses(report, witness_dir):
                note = ", in place of that of an earlier run" if witness.replaced else ""
                click.echo(f"witness written: {witness.path}{note}", err=True)
        except WitnessPathError as error:
            click.echo(str(error), err=True)  # the verdict stands, and so does its exit status
        if report.cross_check is not None:
            from robspec.session.cross_check import raise_alarm

            raise_alarm(report)
        if certificate is not None:
            if derived is not None:
                _options.write_atomically(certificate, derived)
                click.echo(f"certificate written: {certificate}", err=True)
                if len(derived) > MOST:
                    click.echo(
                        f"`robspec recheck` reads at most {MOST >> 20} MiB, and this certificate is larger: "
                        "check fewer images, budgets or properties at a time",
                        err=True,
                    )
            else:
                click.echo("no certificate written: the check was interrupted", err=True)
        return report.exit_status(allow_unknown=report.allow_unknown)


def _say(*, quiet: bool) -> Callable[[str], None]:
    """Write lines to standard error, or nowhere."""
    return (lambda _: None) if quiet else lambda line: click.echo(line, err=True)
