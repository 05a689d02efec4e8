"""`robspec runway`: draw a data set of landing approaches."""

from __future__ import annotations

from collections.abc import Callable
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
@click.option(
    "--objects",
    type=click.IntRange(1, 20),
    metavar="MOST",
    help="Up to so many objects a scene: the runway or none, aeroplanes, balloons.",
)
def command(out: Path, count: int, seed: int, size: int, objects: int | None) -> None:
    """Write OUT: images/, masks/ and annotations.csv of runway scenes seen on approach.

    Masks are 1 on the runway and 0 elsewhere. The annotation has the columns of the LARD data set: the runway's four
    corners in pixels, and where the aircraft is. The folder appears when it is complete.

    With --objects scenes hold 0 to MOST objects, masks are 1 on the runway, 2 on aeroplanes and 3 on balloons, and
    the annotation is objects.json, boxes in COCO's format.

    \b
    Examples:
      robspec runway scenes --count 200 --seed 7 --size 128
      robspec runway sky --count 200 --size 64 --objects 6
    """
    from robspec.cli._folders import write_folder
    from robspec.cli._options import with_progress
    from robspec.data.runway import crowded, export

    def fill(folder: Path) -> None:
        def write(progress: Callable[[int], None]) -> None:
            if objects is None:
                export.write(folder, count, seed, size, progress)
            else:
                crowded.write(folder, count, seed, size, objects, progress)

        with_progress(write, count, "drawing")

    write_folder(out, fill)
    click.echo(f"wrote {out}: {count} scenes of {size} x {size}, seeds {seed} to {seed + count - 1}")
