"""`robspec compile`: what a specification asks, with every name resolved."""

from __future__ import annotations

import sys

import click


@click.command(short_help="Check a specification and print the queries it asks.")
@click.argument("spec", type=click.Path())
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Output format.",
)
@click.option("--set", "sets", multiple=True, metavar="NAME=VALUE", help="Replace a param; may be repeated.")
@click.option("--use", metavar="NAME", help="Data block, in place of what SPEC says to use.")
@click.option("--explain", "reasons", is_flag=True, help="Say how each metric is bounded, and why that is sound.")
def command(spec: str, style: str, sets: tuple[str, ...], use: str | None, reasons: bool) -> None:
    """Check SPEC and print the queries it asks.

    No model or image is opened. Errors and warnings go to standard error; the exit status is 2 if there is an
    error, else 0.
    """
    if reasons and style != "text":
        raise click.UsageError("--explain is text; leave out --format")
    from robspec.cli._show import show
    from robspec.ir import print as ir_print
    from robspec.ir import serialise
    from robspec.lower import compile_source, parse_overrides
    from robspec.syntax.source import read_source

    overrides = parse_overrides(sets)
    source = read_source(spec)
    program, diagnostics = compile_source(source, overrides, use)
    show(diagnostics, source)
    if program is None:
        sys.exit(2)
    if reasons:
        from robspec.lower.explain import explain

        click.echo(explain(program), nl=False)
        return
    click.echo(ir_print.text(program) if style == "text" else serialise.dumps(program), nl=False)
