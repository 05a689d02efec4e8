"""`robspec lint`: every error and warning of some specifications, for editors and hooks."""

from __future__ import annotations

import re
import sys

import click


@click.command(short_help="Say what is wrong or doubtful in specifications.")
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("--errors-only", is_flag=True, help="Leave out warnings.")
@click.option("--ignore", "ignored", multiple=True, metavar="CODE", help="Leave out a warning; repeatable.")
def command(files: tuple[str, ...], errors_only: bool, ignored: tuple[str, ...]) -> None:
    """Check FILES as `compile` does, and print nothing but what is wrong or doubtful, or could be said better.

    No model or image is opened. `robspec explain CODE` says more about each finding. The exit status is 2 if
    anything is an error, 1 if there are warnings, else 0.
    """
    from robspec.cli._show import show
    from robspec.errors import RobspecError
    from robspec.lower import compile_source
    from robspec.syntax.source import read_source

    unwanted = {code.upper() for code in ignored}
    for code in sorted(unwanted):
        if not re.fullmatch(r"W[0-9]{4}", code):
            raise click.UsageError(f"{code[:20]!r} is no code of a warning: `robspec explain --list` has them")
    status = 0
    for name in files:
        try:
            source = read_source(name)
        except RobspecError as error:
            click.echo(str(error), err=True)
            status = 2
            continue
        program, diagnostics = compile_source(source, lint=True)
        shown = [d for d in diagnostics if d.code not in unwanted and not (errors_only and program is not None)]
        show(shown, source)
        status = max(status, 2 if program is None else 1 if shown else 0)
    sys.exit(status)
