"""`robspec explain`: the long form of an error or warning."""

from __future__ import annotations

import click


@click.command(short_help="Say more about an error or warning code.")
@click.argument("code", required=False)
@click.option("--list", "listing", is_flag=True, help="List every code with its title.")
def command(code: str | None, listing: bool) -> None:
    """Say what CODE means, why it is reported, and how to mend it; with an example."""
    from robspec.cli._options import terminal_width
    from robspec.cli._pages import pages
    from robspec.cli._wrap import paragraphs
    from robspec.diagnostics import nearest

    known = pages()
    if listing:
        for page in known.values():
            click.echo(f"{page.code}  {page.title}")
        return
    if code is None:
        raise click.UsageError("name a code, such as E0103, or --list them all")
    found = known.get(code.strip().upper())
    if found is None:
        near = nearest(code.strip().upper(), known)
        mend = f"did you mean {near}?" if near else "`robspec explain --list` lists them all"
        raise click.UsageError(f"there is no code {code[:20]!r}; {mend}")
    click.echo(f"{found.code}: {found.title}\n\n{paragraphs(found.body, terminal_width())}")
