"""`robspec init`: write a first specification from what a model and a folder are."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from robspec.cli import _options


@click.command(short_help="Write a first specification for a model and a folder of images.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), help="Where to write it.  [MODEL's name with .rspec, here]"
)
@_options.model_part
def command(
    model: Path, data: Path, output: Path | None, model_output: str | None, given: str | None, fixed: tuple[str, ...]
) -> None:
    """Write a commented specification for MODEL on the images in the folder DATA.

    Shapes come from the model; classes, masks and sizes from the data, which may lie as one of the published layouts.
    `check` accepts it as it is; what cannot be known is in its comments. An existing file is not replaced.

    \b
    Example:
      robspec init model.pt2 camvid --output camvid.rspec
    """
    from robspec.models.choice import read_choice
    from robspec.session.initial import write_specification
    from robspec.verify.errors import OutputPathError

    path = output or Path(f"{model.stem}.rspec")
    _options.check_writable(path)
    if path.exists():
        raise OutputPathError(str(path), "there is a file of this name", "name another one with --output")
    choice = read_choice(model_output, given, fixed)
    _options.write_atomically(path, write_specification(model, data, path, choice))
    part = {"--model-output": (model_output,), "--input": (given,), "--fix": fixed}
    words = [w for option, values in part.items() for v in values if v is not None for w in (option, v)]
    told = shlex.join(["robspec", "check", str(model), str(path), *words])
    click.echo(f"wrote {path}: read it, correct it, then `{told}`")
