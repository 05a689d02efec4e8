"""`robspec recheck`: derive everything a certificate says anew, and compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from robspec import stopping
from robspec.cli import _options

if TYPE_CHECKING:
    from robspec.recheck.recheck import Derived

_SHOWN = 12


@click.command("recheck", short_help="Check a certificate with exact rational arithmetic.")
@click.argument("certificate", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Folder the data globs start from [the spec's folder].")
@click.option("--arch", metavar="PACKAGE.MODULE:FACTORY", help="Architecture of a bare state_dict (runs your code).")
@click.option("--key", metavar="NAME", help="With --arch: the table of weights in a checkpoint, such as state_dict.")
@click.option(
    "--strip-prefix", "prefix", default="", metavar="PREFIX", help="With --arch: what weights' names have more."
)
@_options.use
@_options.model_part
@click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="The param the check overrode.")
@click.option("--assume-lipschitz", metavar="C", help="The constant the check stood on.")
@click.option("--forward", type=click.Choice(["model", "float64"]), default="model", help="As of the check.  [model]")
@click.option(
    "--arithmetic",
    type=click.Choice(["exact", "real", "deployed"]),
    help="As of the check.  [as of a check that was not told]",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="As of the check.")
@click.option("--coarse", is_flag=True, help="As of the check.")
def command(
    certificate: Path,
    model: Path,
    spec: Path,
    data: Path | None,
    arch: str | None,
    key: str | None,
    prefix: str,
    model_output: str | None,
    given: str | None,
    fixed: tuple[str, ...],
    overrides: tuple[str, ...],
    use: str | None,
    assume_lipschitz: str | None,
    forward: str,
    arithmetic: str | None,
    batch_size: int | None,
    coarse: bool,
) -> int:
    """Confirm CERTIFICATE, which `robspec check --certificate` wrote for MODEL and SPEC.

    The question is that of SPEC: where the check was asked with --set, --use, --assume-lipschitz, --forward,
    --arithmetic, --batch-size or --coarse, the same has to be said here, or the certificate is rejected.

    The constant is proved anew, the model is run again, and from its logits on every cost, cut, value and verdict is
    derived in exact rational arithmetic, by code that shares nothing with the kernels.

    \b
    Exit status: 0 confirmed, whatever its verdicts are; 1 rejected, with the fields
    that differ; 2 no certificate, an altered one, or a file that cannot be read;
    130 stopped by SIGINT or SIGTERM.
    """
    from robspec.cli._confirmed import Beside
    from robspec.data.batching import default_batch_size
    from robspec.lower import compile_source, parse_overrides
    from robspec.models.choice import read_choice
    from robspec.recheck import document
    from robspec.recheck.assemble import Inputs
    from robspec.recheck.errors import CertificateRejected
    from robspec.recheck.recheck import compiled, derive, match_question, match_spec
    from robspec.semantics.norm import decimal_text
    from robspec.session.warned import warned
    from robspec.syntax.source import read_source
    from robspec.verify.backend import choose

    _options.check_architecture(arch, key, prefix)
    choice = read_choice(model_output, given, fixed)
    written = document.read(certificate)
    source = read_source(spec)
    match_spec(written, source)
    chosen = parse_overrides(overrides)
    program = compiled(source, chosen, use)
    _, diagnostics = compile_source(source, chosen, use)
    params = dict(program.params)
    assume = None if assume_lipschitz is None else _options.positive_decimal("--assume-lipschitz", assume_lipschitz)
    inputs = Inputs(forward, batch_size or default_batch_size(program.model), assume, use, arithmetic, coarse)
    match_question(written, program, inputs, str(certificate))
    root = spec.parent if data is None else data
    images = written.get("images")
    total = len(images) if isinstance(images, list) else 0

    seen = 0
    early: list[document.Difference] = []
    beside = Beside(program, warned(spec, source, diagnostics), choose("reference"))

    def run(progress: Callable[[int], None]) -> Derived:
        def step(done: int, _: int) -> None:
            nonlocal seen
            progress(done - seen)
            seen = done

        return derive(
            inputs,
            params,
            model,
            source,
            root,
            arch=arch,
            key=key,
            prefix=prefix,
            choice=choice,
            written=written,
            progress=step,
            early=early,
            observe=beside.observe,
        )

    try:
        derived = _options.with_progress(run, total, "rechecking")
        found = derived.differences(written)
    except KeyboardInterrupt:
        _show(early)
        click.echo(_interrupted(seen, total, len(early)), err=True)
        return stopping.STATUS
    if found:
        found.sort(key=lambda f: not f[0].startswith(("sha256", "versions", "images")))
        _show(found)
        raise CertificateRejected(str(certificate), _reason([f[0] for f in found]), _mend([f[0] for f in found]))
    values = sum(len(i["points"]) for p in written["properties"] for i in p["images"])
    click.echo(f"confirmed: {total} images, {values} certified values derived anew in exact arithmetic")
    if params:
        click.echo("params: " + ", ".join(f"{name} = {decimal_text(value)}" for name, value in params.items()))
    if derived.before is not None:
        click.echo(f"coarse: cut at {derived.before.ending.text}")
    declared = written["lipschitz"]
    if declared is not None:
        click.echo(f"  {declared['claim']}: {declared['verdict']}")
    for prop in written["properties"]:
        click.echo(f"  {prop['name']}: {prop['verdict']}")
    for line in beside.lines(derived, written, model, key, prefix):
        click.echo(line)
    click.echo("taken for granted: " + "; ".join(written["taken_for_granted"]))
    return 0


def _interrupted(seen: int, total: int, differing: int) -> str:
    if not seen:
        return "interrupted before the first image was compared: nothing is confirmed"
    said = f"{differing} fields about these images differ" if differing else "every field about these images agrees"
    return f"interrupted after {seen} of {total} images: the certificate is not confirmed; {said}"


def _show(found: Sequence[tuple[str, str, str]]) -> None:
    for path, there, here in found[:_SHOWN]:
        click.echo(f"{path}\n  certificate: {there}\n  derived:     {here}", err=True)
    if len(found) > _SHOWN:
        click.echo(f"and {len(found) - _SHOWN} more fields", err=True)


def _reason(paths: list[str]) -> str:
    count = f"{len(paths)} field{'s' if len(paths) > 1 else ''} differ{'' if len(paths) > 1 else 's'}"
    if any(p.startswith("sha256") for p in paths):
        return f"it is of another model, specification or data set: {count} from what was derived"
    if any(p.startswith("versions") or p.endswith(".logits") for p in paths):
        return f"the logits or the versions are not those it was written with: {count} from what was derived"
    return f"{count} from what was derived"


def _mend(paths: list[str]) -> str:
    if any(p.startswith("sha256") for p in paths):
        return "name the files that were checked"
    if paths[0].startswith("program.program.model.claim"):
        return "a claim is about a file of one name: name the model as it was named when it was checked"
    if any(p.startswith("versions") or p.endswith(".logits") for p in paths):
        return "recheck on a machine with the same versions and processor, or check again here"
    return "do not rely on it; check again"
