"""The command line: one file per command, found by name, imported when asked for."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Any

import click

import robspec
from robspec import registry, stopping
from robspec.diagnostics.suggest import nearest
from robspec.errors import RobspecError


class _Commands(click.Group):
    """A group whose commands are the modules of this package, each exposing `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return registry.names(sys.modules[__name__])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            near = nearest(args[0], self.list_commands(ctx))
            also = f"; did you mean `{near}`?" if near else ""
            raise click.UsageError(f"no such command {args[0][:40]!r}{also}", ctx)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        found: Any = registry.load(sys.modules[__name__], cmd_name).command
        return found if isinstance(found, click.Command) else None


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=_Commands, context_settings=_SETTINGS)
@click.version_option(robspec.__version__, prog_name="robspec")
def cli() -> None:
    """State what a vision model must withstand, and have it proved.

    \b
    Exit status of `check`:
      0  every property proved
      1  at least one refuted
      2  the specification, the model or the data is wrong
      3  nothing refuted, at least one not proved
      4  soundness alarm or internal error
    130  stopped by SIGINT or SIGTERM; what was finished is reported
    """


def shown(error: RobspecError) -> str:
    """An error as the terminal shows it: those of a specification in colour unless NO_COLOR is set.

    Each ends by naming the page that says more.
    """
    from robspec.diagnostics import SpecError

    if isinstance(error, SpecError):
        return error.render(colour=not os.environ.get("NO_COLOR"))
    page = f"`robspec explain {error.code}`"
    return str(error) if page in error.mend else f"{error}\n\n1 error; {page} says more"


def _path() -> str:
    """The command that was called: click does not tell of an option that lacks its value."""
    called = sys.argv[1:2]
    return (
        " ".join(["robspec", *called]) if called and called[0] in registry.names(sys.modules[__name__]) else "robspec"
    )


def _command_line_error(error: click.ClickException) -> str:
    """A command line click cannot read, in the form of every other error."""
    from robspec.verify.errors import CommandLineError

    context = getattr(error, "ctx", None)
    path = _path() if context is None else context.command_path
    what = error.format_message().strip().removesuffix(".")
    return shown(CommandLineError(path, what[:1].lower() + what[1:], f"`{path} --help` lists what it takes"))


_CLOSED_PIPE = 141
"""What a shell reports of a program that a closed pipe ended."""


def main() -> None:
    """Run the command line; every error of the user's input becomes one message and exit status 2."""
    with stopping.as_interrupt():
        _run()


def _run() -> None:
    try:
        status = cli.main(standalone_mode=False)
    except RobspecError as error:
        click.echo(shown(error), err=True)
        sys.exit(error.exit_status)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.message)
        sys.exit(2)
    except click.ClickException as error:
        click.echo(_command_line_error(error), err=True)
        sys.exit(2)
    except click.exceptions.Abort as stop:
        if not isinstance(stop.__cause__, stopping.Said):
            click.echo("interrupted: nothing was finished", err=True)
        sys.exit(stopping.STATUS)
    except SystemExit as stop:
        # On a closed pipe click wraps the streams and exits with 1, which would read as REFUTED.
        sys.exit(_CLOSED_PIPE if "PacifyFlush" in type(sys.stdout).__name__ else stop.code)
    except Exception as error:  # noqa: BLE001 - status 1 would read as REFUTED
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            click.echo("error: no space left to write the output", err=True)
            sys.exit(2)
        click.echo(f"internal error, please report it:\n{traceback.format_exc()}", err=True)
        sys.exit(4)
    sys.exit(status if isinstance(status, int) else 0)
