"""`robspec reproduce`: ask again what a bound and an independent computation answered differently."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("reproduce", short_help="Run a reproducer that a cross-check has written.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--backend", default="auto", help="Kernel backend: auto, cpu, numpy, reference or triton.  [auto]")
def command(file: Path, backend: str) -> int:
    """Put the question in FILE to the bound and to the solvers again.

    \b
    Exit status: 0 they agree now; 2 FILE is no reproducer; 3 the solvers gave no answer;
    4 they still disagree.
    """
    from robspec.verify.backend import choose
    from robspec.verify.reproducer import reproduce

    found = reproduce(file, choose(backend))
    click.echo(f"{found.property}, {found.image}, {found.what}")
    click.echo(f"  certified {found.bound}; {found.direction}: {found.optimum}")
    click.echo(f"  {found.method}; tolerance: {found.tolerance}")
    words = {True: "they agree", False: f"STILL DISAGREES: {found.note}", None: f"not solved: {found.note}"}
    click.echo(f"  {words[found.agreed]}")
    return {True: 0, False: 4, None: 3}[found.agreed]
