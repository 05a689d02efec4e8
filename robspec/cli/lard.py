"""`robspec lard`: turn the corners that LARD publishes into masks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import click


def _size(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    sides = re.fullmatch(r"([1-9][0-9]{0,4}),([1-9][0-9]{0,4})", value)
    if sides is None or max(int(sides[1]), int(sides[2])) > 16384:
        raise click.BadParameter("give height and width, for example 256,256")
    return int(sides[1]), int(sides[2])


@click.command(short_help="Turn LARD's runway corners into masks.")
@click.argument("annotations", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--size", callback=_size, metavar="H,W", help="Draw for images brought to this size.  [their own]")
def command(annotations: Path, out: Path, size: tuple[int, int] | None) -> None:
    """Write one mask for each line of ANNOTATIONS to the folder OUT: 1 on the runway, 0 elsewhere.

    Masks are PNG files named after their images, which is how `check` pairs them. Corners outside the image are
    clipped; a line that makes no runway is refused and named.

    \b
    Example:
      robspec lard LARD_train.csv masks --size 256,256
    """
    from PIL import Image

    from robspec.cli._folders import write_folder
    from robspec.cli._options import with_progress
    from robspec.data.lard import read

    found = read(annotations)

    def fill(folder: Path) -> None:
        def work(progress: Callable[[int], None]) -> None:
            for annotation in found:
                Image.fromarray(annotation.mask(size)).save(folder / f"{annotation.stem}.png", optimize=True)
                progress(1)

        with_progress(work, len(found), "drawing")

    write_folder(out, fill)
    click.echo(f"wrote {out}: {len(found)} masks")
