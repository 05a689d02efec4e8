"""`robspec check --watch`: the same check again whenever a file it was told of changes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from robspec import stopping
from robspec.cli import shown
from robspec.errors import RobspecError

_EVERY = 0.1
"""Seconds between two looks at the files."""


def watch(command: click.Command, arguments: dict[str, Any], files: Sequence[Path]) -> int:
    """Run a command, and again after every change of its files, until a signal stops it.

    Args:
        command: it returns its exit status.
        arguments: of its function.
        files: what is looked at.

    Returns:
        The exit status of the last whole run; 130 where none was.
    """
    context, status = click.get_current_context(), stopping.STATUS
    names = " or ".join(str(path) for path in files)
    while True:
        seen = [_state(path) for path in files]
        found = _once(command, arguments, context)
        if found == stopping.STATUS:
            return status
        status = found
        try:
            click.echo(f"exit status {status}; waiting for {names} to change, Ctrl-C ends", err=True)
            _until_changed(files, seen)
        except KeyboardInterrupt:
            return status


def _until_changed(files: Sequence[Path], seen: Sequence[object]) -> None:
    """Wait for a change, and then until nothing changes any more: whoever writes a file has written all of it."""
    before: Sequence[object] = seen
    while True:
        time.sleep(_EVERY)
        now = [_state(path) for path in files]
        if now != seen and now == before:
            return
        before = now


def _once(command: click.Command, arguments: dict[str, Any], parent: click.Context) -> int:
    """Run it once; what is wrong with its input is shown, and may be right the next time."""
    try:
        with click.Context(command, info_name=parent.info_name, parent=parent.parent) as context:
            found = context.invoke(command.callback, **arguments)  # type: ignore[arg-type]
        return int(found or 0)
    except RobspecError as error:
        click.echo(shown(error), err=True)
        return error.exit_status


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None  # an editor may be writing it anew
    return found.st_mtime_ns, found.st_size, found.st_ino
