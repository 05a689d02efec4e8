"""`robspec metrics`: the built-in metrics."""

from __future__ import annotations

import click


@click.command(short_help="List the built-in metrics, or say all about one.")
@click.argument("name", required=False)
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="Output format; markdown is the reference page.",
)
def command(name: str | None, style: str) -> None:
    """List the built-in metrics with polarity, family and formula; or say all there is to know about NAME."""
    import json

    from robspec.cli._options import terminal_width
    from robspec.diagnostics import did_you_mean
    from robspec.lower import catalogue
    from robspec.metrics import built_in

    if name is not None and name not in built_in():
        mend = did_you_mean(name[:60], built_in(), "`robspec metrics` lists them all")
        raise click.UsageError(f"there is no metric {name[:60]!r}; {mend}")
    if style == "markdown":
        if name is not None:
            raise click.UsageError("the page is about all metrics; leave out the name")
        click.echo(catalogue.page(), nl=False)
    elif style == "json":
        chosen = catalogue.entries() if name is None else [built_in()[name]]
        click.echo(json.dumps([catalogue.to_json(info) for info in chosen], indent=2))
    else:
        width = terminal_width()
        click.echo(catalogue.table(width) if name is None else catalogue.text(built_in()[name], width), nl=False)
