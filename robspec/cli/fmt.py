"""`robspec fmt`: specifications in their one layout."""

from __future__ import annotations

import difflib
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from robspec.diagnostics import Source


@click.command(short_help="Bring specifications into their one layout.")
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change.")
def command(files: tuple[str, ...], check: bool, diff: bool) -> None:
    """Format FILES in place; `-` formats standard input to standard output.

    Comments are kept. A file with syntax errors is left as it is, and the exit status is 2.
    """
    from robspec.errors import RobspecError
    from robspec.syntax.source import MAX_BYTES, decode, read_source

    broken = changed = False
    for name in files:
        try:
            source = decode(sys.stdin.buffer.read(MAX_BYTES + 1), "<stdin>") if name == "-" else read_source(name)
            text = _formatted(source)
            if text is None:
                broken = True
                continue
            changed |= text != source.text
            _deliver(name, source, text, check=check, diff=diff)
        except RobspecError as error:
            click.echo(str(error), err=True)
            broken = True
    if broken:
        sys.exit(2)
    if check and changed:
        sys.exit(1)


def _formatted(source: Source) -> str | None:
    """The text in its layout; None, with the errors shown, when it cannot be read."""
    from robspec.cli._show import show
    from robspec.diagnostics import Source
    from robspec.syntax import format_file, parse

    parsed = parse(source)
    if parsed.diagnostics:
        show(parsed.diagnostics, source)
        return None
    text = format_file(parsed.file)
    again = parse(Source(text, source.name))
    if again.diagnostics or again.file != parsed.file or len(again.file.comments) != len(parsed.file.comments):
        raise RuntimeError(f"formatting would change the meaning of {source.name}; nothing was written")
    return text


def _deliver(name: str, source: Source, text: str, *, check: bool, diff: bool) -> None:
    if diff:
        before, after = (t.splitlines(keepends=True) for t in (source.text, text))
        click.echo("".join(difflib.unified_diff(before, after, source.name, f"{source.name} (formatted)")), nl=False)
    if check and text != source.text:
        click.echo(f"would change {source.name}", err=True)
    if check or diff:
        return
    if name == "-":
        click.echo(text, nl=False)
    elif text != source.text:
        _replace(Path(name), text)
        click.echo(f"formatted {name}", err=True)


def _replace(path: Path, text: str) -> None:
    """Put a text in a file's place in one step, its mode kept, links followed."""
    from robspec.syntax.errors import SpecFileUnwritable

    target = path.resolve()
    temporary = None
    try:
        mode = stat.S_IMODE(target.stat().st_mode)
        if not os.access(target, os.W_OK):
            raise PermissionError(None, "the file is read-only")
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as stream:
            stream.write(text.encode("utf-8"))
        Path(temporary).chmod(mode)
        Path(temporary).replace(target)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        what = f"the formatted file cannot be written: {error.strerror or error}"
        raise SpecFileUnwritable(str(path), what, "check the permissions of the file and its directory") from None
