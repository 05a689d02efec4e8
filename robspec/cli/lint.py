"""`robspec lint`: every error and warning of some specifications, for editors and hooks."""

from __future__ import annotations

import sys

import click


@click.command(short_help="Say what is wrong or doubtful in specifications.")
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("--errors-only", is_flag=True, help="Leave out warnings.")
def command(files: tuple[str, ...], errors_only: bool) -> None:
    """Check FILES as `compile` does, and print nothing but what is wrong or doubtful.

    No model or image is opened. `robspec explain CODE` says more about each finding. The exit status is 2 if
    anything is an error, 1 if there are warnings, else 0.
    """
    from robspec.cli._show import show
    from robspec.errors import RobspecError
    from robspec.lower import compile_source
    from robspec.syntax.source import read_source

    status = 0
    for name in files:
        try:
            source = read_source(name)
        except RobspecError as error:
            click.echo(str(error), err=True)
            status = 2
            continue
        program, diagnostics = compile_source(source)
        shown = [d for d in diagnostics if not (errors_only and program is not None)]
        show(shown, source)
        status = max(status, 2 if program is None else 1 if shown else 0)
    sys.exit(status)
