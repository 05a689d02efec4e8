"""`robspec import`: write an archive that `check` accepts from an ONNX file, or of one part of an archive."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("import")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("archive", type=click.Path(path_type=Path))
@click.option("--output", metavar="NAME", help="The logits: a value of the ONNX graph, or a key of what is returned.")
@click.option("--input", "given", metavar="[NAME=]C,H,W", help="The input of the images, their size, or both.")
@click.option("--fix", "fixed", multiple=True, metavar="CHANNEL=VALUE", help="A channel or input that is no image.")
@click.option("--batch-max", default=64, show_default=True, type=click.IntRange(min=1), help="Largest batch.")
def command(
    model: Path, archive: Path, output: str | None, given: str | None, fixed: tuple[str, ...], batch_max: int
) -> None:
    """Write ARCHIVE, which `check` accepts, from MODEL: an ONNX file, or an archive of several outputs or sizes.

    An ONNX file may be cut at any value inside it (--output NAME). What was read is compared with onnxruntime on
    eight images before anything is written. Channels are counted from 0: `--fix 3=0` sets a fourth one to 0, and the
    images have three.

    \b
    Example:
      robspec import model.onnx model.pt2 --output logits
    """
    from robspec.models.choice import read_choice
    from robspec.models.reworking import rework
    from robspec.models.writing import write_whole

    made = rework(model, read_choice(output, given, fixed), batch_max)
    write_whole(archive, made.archive)
    click.echo(
        f"wrote {archive}: {len(made.archive):,} bytes, images {made.images}, logits {made.logits}, {made.batch}"
    )
    for line in made.remarks:
        click.echo(line)
