"""`robspec init`: write a first specification from what a model and a folder are."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Write a first specification for a model and a folder of images.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), help="Where to write it.  [MODEL's name with .rspec, here]"
)
def command(model: Path, data: Path, output: Path | None) -> None:
    """Write a commented specification for MODEL on the images in the folder DATA.

    Shapes come from the model; classes, masks and sizes from the data, which may lie as one of the published layouts.
    `check` accepts it as it is; what cannot be known is in its comments. An existing file is not replaced.

    \b
    Example:
      robspec init model.pt2 camvid --output camvid.rspec
    """
    from robspec.cli._options import check_writable, write_atomically
    from robspec.session.initial import write_specification
    from robspec.verify.errors import OutputPathError

    path = output or Path(f"{model.stem}.rspec")
    check_writable(path)
    if path.exists():
        raise OutputPathError(str(path), "there is a file of this name", "name another one with --output")
    write_atomically(path, write_specification(model, data, path))
    click.echo(f"wrote {path}: read it, correct it, then `robspec check {model} {path}`")
