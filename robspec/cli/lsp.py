"""`robspec lsp`: the language server, for editors."""

from __future__ import annotations

import click

from robspec import extras


@click.command(short_help="Serve editors: diagnostics, hover, completion, rename.")
def command() -> None:
    """Speak the Language Server Protocol on standard input and output.

    An editor starts this; it opens no model and no image. Needs the extra `lsp`.
    """
    extras.require("lsp", "robspec lsp")
    from robspec.lsp.server import server

    server.start_io()
