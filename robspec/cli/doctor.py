"""`robspec doctor`: versions, backends and extras, each with the reason why it is or is not there, and caches."""

from __future__ import annotations

import click


@click.command(short_help="Say which versions, backends, extras and caches there are, and why.")
def command() -> None:
    """Say which versions, backends, extras and caches there are, and why one is not.

    Nothing is changed and nothing is sent anywhere.
    """
    from robspec.session.health import lines

    for line in lines():
        click.echo(line)
