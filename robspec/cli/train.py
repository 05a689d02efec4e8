"""`robspec train`: from images, with masks, labels or of one class, to a certified model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click


class _Console:
    """Lines on standard output; bars on a terminal only."""

    def line(self, text: str) -> None:
        """Print a line."""
        click.echo(text)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar while work goes on, or nothing where there is none to do."""
        if not total or not sys.stderr.isatty():
            yield lambda _: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(title, total=total)
            yield lambda done: progress.advance(task, done)


@click.command("train", short_help="Train a network and certify it.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run, created if missing.")
@click.option("--generator", metavar="MODULE:FUNCTION", help="Draws scenes from seeds (runs your code).")
@click.option("--fresh", is_flag=True, help="Begin again although there is a checkpoint.")
def command(config: Path, out: Path, generator: str | None, fresh: bool) -> None:
    """Train the network that CONFIG, a TOML file, describes; export it, prove its Lipschitz constant, certify it.

    OUT receives model.pt2, card.json and, with masks or labels, model.rspec (what holds on the validation set, ready
    for `robspec check`).
    A run that was stopped goes on from its checkpoint in OUT and ends with the same bits.

    \b
    Example:
      robspec train specs/runway/strong.toml --out run --generator specs.runway.generate:scene
    """
    from robspec.train.config import read_config

    found = read_config(config)

    from robspec.train.run import train
    from robspec.train.samples import find_generator

    train(found, out, None if generator is None else find_generator(generator), _Console(), fresh=fresh)
