"""`robspec replay`: show a violation again, on any machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from robspec.cli import _options


@click.command("replay", short_help="Show the violation of a witness again.")
@click.argument("witness", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Folder the data globs start from [the spec's folder].")
@_options.use
def command(witness: Path, model: Path, spec: Path, data: Path | None, use: str | None) -> int:
    """Judge the images of WITNESS, which `robspec check` wrote, with MODEL and SPEC again.

    The images are read from beside WITNESS, their distance from the clean images is measured, and the requirement is
    decided with them; nothing that WITNESS says of values or distances is believed.

    \b
    Exit status: 0 the violation is there again; 1 it is not; 2 an input is wrong.
    """
    from robspec.diagnostics import SpecError
    from robspec.lower import compile_source
    from robspec.semantics.norm import directed_text
    from robspec.session.replay import replay
    from robspec.syntax.source import read_source

    source = read_source(spec)
    program, diagnostics = compile_source(source, use=use)
    if program is None:
        raise SpecError(diagnostics, source)
    digest = hashlib.sha256(source.text.encode()).hexdigest()
    found = replay(witness, program, model, spec, data=data, spec_sha256=digest)
    for one in found.shown:
        far = "is no image of this model" if one.distance is None else f"at {directed_text(one.distance, 6, up=True)}"
        value = "" if one.value is None else f", attains {float(one.value):.6g}"
        click.echo(f"{one.image}: {one.path.name} {far}{value}")
    for item in found.result.requirements:
        if item.verdict.value == "REFUTED":
            click.echo(f"{found.result.source.name}, {item.requirement.text}: violated")
    if found.differing:
        click.echo(f"not the files that the witness was written about: {', '.join(found.differing)}", err=True)
    if found.part:
        click.echo(found.part)
    click.echo(found.about)
    click.echo("the violation is there again" if found.violated else "the violation is not there")
    return 0 if found.violated else 1
