"""`robspec runway`: draw a data set of landing approaches."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Draw a data set of landing approaches.")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="Number of scenes.")
@click.option(
    "--seed", type=click.IntRange(0, 2**48), default=0, show_default=True, help="Scene k depends on seed + k."
)
@click.option(
    "--size", type=click.IntRange(16, 4096), default=128, show_default=True, help="Height and width, pixels."
)
def command(out: Path, count: int, seed: int, size: int) -> None:
    """Write OUT: images/, masks/ and annotations.csv of runway scenes seen on approach.

    Masks are 1 on the runway and 0 elsewhere. The annotation has the columns of the LARD data set: the runway's four
    corners in pixels, and where the aircraft is. The folder appears when it is complete.

    \b
    Example:
      robspec runway scenes --count 200 --seed 7 --size 128
    """
    from robspec.cli._folders import write_folder
    from robspec.cli._options import with_progress
    from robspec.data.runway.export import write

    def fill(folder: Path) -> None:
        with_progress(lambda progress: write(folder, count, seed, size, progress), count, "drawing")

    write_folder(out, fill)
    click.echo(f"wrote {out}: {count} scenes of {size} x {size}, seeds {seed} to {seed + count - 1}")
