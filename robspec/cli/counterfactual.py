"""`robspec counterfactual`: the nearest images that a network decides otherwise, and how near any can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robspec import stopping
from robspec.cli import _options


@click.command("counterfactual", short_help="Find near images that change a verdict, and prove how near any can be.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True)
@click.option("--spec", type=click.Path(path_type=Path), help="Specification: range, normalisation, classes, data.")
@click.option("--property", "name", metavar="P", help="The property of SPEC that is to be violated.")
@click.option(
    "--requirement", type=click.IntRange(min=1), metavar="N", help="Which requirement, of one with a budget."
)
@click.option("--point", type=click.IntRange(min=1), metavar="N", help="Which threshold, of a swept one.  [1]")
@click.option("--to", metavar="CLASS", help="The class to be decided: a number, or a name of SPEC.  [any other]")
@click.option("--pixel", metavar="ROW,COLUMN", help="The pixel whose decision is meant, of a segmentation model.")
@click.option("--range", "ends", metavar="LOW,HIGH", help="Range of the input without --spec.  [0,1]")
@click.option("--data", type=click.Path(path_type=Path), help="Folder the data globs start from [the spec's folder].")
@click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="Override a param; repeatable.")
@_options.use
@_options.model_part
@click.option("--arch", metavar="PACKAGE.MODULE:FACTORY", help="Architecture of a bare state_dict (runs your code).")
@click.option("--assume-lipschitz", metavar="C", help="Stand on this l2 constant where none can be proved.")
@click.option("--steps", type=click.IntRange(1, 10_000), default=60, show_default=True, help="Gradients per descent.")
@click.option(
    "--seed", type=click.IntRange(0, 2**48), default=0, show_default=True, help="Of starts beside an image."
)
@click.option(
    "--attribution",
    "methods",
    type=click.Choice(["gradient", "integrated", "smoothgrad"]),
    multiple=True,
    help="Make attribution maps too; repeatable.",
)
@click.option("--beside", type=click.Path(path_type=Path), help="Make the maps of this model (.pt2) too.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder for images, pictures and the report.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Draw up to twelve results on one picture (.png).")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    model: Path, images: tuple[str, ...], output: Path | None, sheet: Path | None, form: str, **asked: Any
) -> int:
    """Find for each of IMAGES a near image that MODEL decides otherwise.

    What is asked for is an image that violates property P of SPEC, or one of the class --to. Every answer comes with
    a distance below which there is provably none, and their quotient q: the nearest is at least q times as far as
    the one found.

    \b
    Exit status: 0 found for every image; 2 bad input, or an image that is its own
    counterfactual; 3 none found for some image; 4 soundness alarm; 130 stopped.

    \b
    Example:
      robspec counterfactual specs/runway/runway.pt2 specs/runway/images/000.png \\
        --spec specs/runway/runway.rspec --property hard_to_degrade --output why
    """
    from robspec.cli._folders import check_free, write_folder
    from robspec.verify.errors import OptionValueError

    if output is not None:
        check_free(output)
    if sheet is not None:
        if sheet.suffix.lower() != ".png":
            raise OptionValueError("--sheet", f"{sheet.name!r} does not end in .png", "the picture is a PNG file")
        _options.check_writable(sheet)

    from robspec.explanations import pictures
    from robspec.explanations.subjects import expanded

    names = expanded(images)
    if sheet is not None and len(names) > pictures.MOST_ON_A_SHEET:
        most = f"a sheet holds {pictures.MOST_ON_A_SHEET} images and {len(names)} are given"
        raise OptionValueError("--sheet", most, "name fewer images")

    from robspec.cli._counterfactual import Asked, Run, opened

    job = opened(model, names, Asked(**asked))
    run = Run(job, form)
    stopped = False
    try:
        _options.with_progress(run.all, len(names) * run.steps, "searching")
    except KeyboardInterrupt:
        stopped = True  # what was found is shown
    with stopping.held():
        if output is not None:
            write_folder(output, run.write)
        if sheet is not None and run.results:
            _options.write_atomically(sheet, pictures.sheet(run.results, job.explainer.ends))
        click.echo(run.text(), nl=False)
        for path in (output, sheet):
            if path is not None:
                click.echo(f"written: {path}", err=True)
        if stopped:
            click.echo(f"interrupted after {len(run.results)} of {len(names)} images", err=True)
    return stopping.STATUS if stopped else run.status
