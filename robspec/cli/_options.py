"""What commands share: option values, safe output, the progress bar."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import click

from robspec.diagnostics.suggest import did_you_mean
from robspec.verify.errors import OptionValueError, OutputPathError, WitnessPathError

_T = TypeVar("_T")
_PIPE_WIDTH = 100
_STEPS = 20
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}", re.ASCII)
_DECIMAL = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,60})?)(?:/0*([1-9][0-9]{0,30}))?", re.ASCII)


def positive_decimal(option: str, text: str) -> Fraction:
    """Read an exact positive number.

    Args:
        option: the option's name, for the message.
        text: a decimal or a fraction.

    Returns:
        Its exact value.

    Raises:
        OptionValueError: not a finite positive number (E0601).
    """
    match = _DECIMAL.fullmatch(text)
    value = Fraction(match[1]) / (Fraction(match[2]) if match[2] else 1) if match else Fraction(0)
    if value <= 0:
        raise OptionValueError(option, f"{text[:64]!r} is not a positive number", "write a decimal such as 1.0001")
    return value


def check_architecture(arch: str | None, key: str | None, prefix: str) -> None:
    """Make sure that options about bare weights come with the network they are for.

    Raises:
        UsageError: they do not (E0600).
    """
    if arch is None and (key is not None or prefix):
        raise click.UsageError(
            "--key and --strip-prefix choose from a file of weights: name their network with --arch"
        )


def model_part(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that choose a part of a model file: `model_output`, `given` and `fixed`."""
    for option in (
        click.option("--fix", "fixed", multiple=True, metavar="CHANNEL=VALUE", help="ONNX: a channel of no image."),
        click.option("--input", "given", metavar="[NAME=]C,H,W", help="Size of the images, the ONNX input, or both."),
        click.option("--model-output", metavar="NAME", help="The logits, of several outputs or in an ONNX graph."),
    ):
        command = option(command)
    return command


def attacking(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of `--attack` but for that itself; see `attack_of`."""
    for option in (
        click.option("--attack-seconds", type=click.FloatRange(0, min_open=True), metavar="N", help="Stop it then."),
        click.option(
            "--attack-restarts", type=click.IntRange(1, 1000), metavar="N", help="Starts of each image.  [1]"
        ),
        click.option(
            "--attack-method",
            "attack_methods",
            multiple=True,
            metavar="NAME",
            help="How it searches; repeatable.  [pgd]",
        ),
    ):
        command = option(command)
    return command


def attack_of(
    steps: int | None, methods: tuple[str, ...], restarts: int | None, seconds: float | None, *, everything: bool
) -> dict[str, Any]:
    """Read the options of an attack; each implies `--attack` with 20 steps.

    Returns:
        Fields of `robspec.session.check.Options`.
    """
    asked = bool(methods) or restarts is not None or seconds is not None or everything
    found: dict[str, Any] = {"attack": _STEPS if steps is None and asked else steps, "attack_all": everything}
    found["attack_seconds"] = seconds
    if methods:
        found["attack_methods"] = methods
    if restarts is not None:
        found["attack_restarts"] = restarts
    return found


use = click.option("--use", metavar="NAME", help="Data block, in place of what the specification says to use.")
"""What is asked of another data set."""


def check_format(name: str) -> None:
    """Make sure a report format exists.

    Raises:
        OptionValueError: it does not (E0601).
    """
    from robspec import report

    if name not in report.formats():
        raise OptionValueError("--format", f"no format {name!r}", f"choose one of {', '.join(report.formats())}")


def outputs(given: Sequence[str]) -> tuple[Path | None, tuple[tuple[str, Path], ...]]:
    """Read where reports are written.

    Args:
        given: FILE, or FORMAT=FILE with the name of a format.

    Returns:
        The one FILE in the format of `--format`, or None; and every other with its format.

    Raises:
        OptionValueError: two files without a format, or one in a format that there is not (E0601).
    """
    from robspec import report

    plain: list[Path] = []
    others: list[tuple[str, Path]] = []
    for text in given:
        form, equals, path = text.partition("=")
        if equals and form in report.formats():
            others.append((form, Path(path)))
        elif equals and _WORD.fullmatch(form):
            listed = f"choose one of {', '.join(report.formats())}"
            mend = did_you_mean(form, report.formats(), listed)
            raise OptionValueError("--output", f"no format {form!r}", f"{mend}; a file of this name is ./{text}")
        else:
            plain.append(Path(text))
    if len(plain) > 1:
        mend = f"name a format for each, such as junit={plain[1]}"
        raise OptionValueError("--output", f"{plain[0]} and {plain[1]} would be the same report", mend)
    return (plain[0] if plain else None), tuple(others)


def check_writable(path: Path) -> None:
    """Make sure a file can be created at a path, before any work is done.

    Raises:
        OutputPathError: it cannot (E0602).
    """
    folder = path.parent
    if path.is_dir():
        raise OutputPathError(str(path), "the output path is a folder", "name a file in it")
    if not folder.is_dir():
        raise OutputPathError(str(path), f"the folder {folder} does not exist", "create it first")
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise OutputPathError(str(path), "the output path is not writable", "choose another path")


def check_witness_folder(folder: Path) -> None:
    """Make sure witnesses can be written, before any work is done.

    Raises:
        WitnessPathError: the path is a file, or cannot be written to (E0603).
    """
    if folder.exists() and not folder.is_dir():
        raise WitnessPathError(str(folder), "the witness folder is a file", "name another folder with --witness-dir")
    parent = next((p for p in (folder, *folder.absolute().parents) if p.exists()), folder)
    if not os.access(parent, os.W_OK):
        raise WitnessPathError(str(folder), "the witness folder is not writable", "name another with --witness-dir")


def write_atomically(path: Path, content: str | bytes | Iterable[str]) -> None:
    """Write a file so that readers see the old content or the whole new one.

    Args:
        path: the file.
        content: all of it, or one piece after another.

    Raises:
        OutputPathError: the file system refuses (E0602).
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                if isinstance(content, bytes):
                    stream.write(content)
                else:
                    parts = [content] if isinstance(content, str) else content
                    stream.writelines(piece.encode() for piece in parts)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputPathError(str(path), f"cannot write: {error.strerror}", "choose another path") from error


def table_width() -> int | None:
    """How wide tables are: None for as wide as the terminal; in a pipe so wide that no figure is cut."""
    return None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200


def terminal_width() -> int:
    """What COLUMNS says, else the columns of the terminal, 100 in a pipe."""
    return shutil.get_terminal_size((_PIPE_WIDTH, 24)).columns


def with_progress(work: Callable[[Callable[[float], None]], _T], total: int, title: str) -> _T:
    """Run work that reports how many steps it finished, with a bar on a terminal and silence in a pipe.

    Args:
        work: called with a function to be told of finished steps.
        total: number of steps.
        title: what the bar is called.

    Returns:
        What the work returns.
    """
    if not sys.stderr.isatty():
        return work(lambda _: None)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        return work(lambda done: bar.advance(task, done))
