"""`robspec lsp`: the language server, for editors."""

from __future__ import annotations

import click


@click.command(short_help="Serve editors: diagnostics, hover, completion, rename.")
def command() -> None:
    """Speak the Language Server Protocol on standard input and output.

    An editor starts this; it opens no model and no image. Needs the extra `lsp`.
    """
    try:
        from robspec.lsp.server import server
    except ImportError as error:
        raise click.UsageError(f"the language server needs {error.name}: pip install 'robspec[lsp]'") from error
    server.start_io()
