"""`robspec cache`: what is kept between runs, and how to be rid of it."""

from __future__ import annotations

import re
from pathlib import Path

import click

from robspec.verify.errors import OptionValueError

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@click.command(short_help="List, prune or clear what is kept between runs.")
@click.option(
    "--prune",
    metavar="SIZE",
    help="Keep at most so much of logits and attacks, such as 200M or 1G; what was used least recently goes.",
)
@click.option("--clear", is_flag=True, help="Remove logits, attacks, proofs and compiled kernels.")
@click.option("--store", type=click.Path(path_type=Path), help="Another store than the user's.")
def command(prune: str | None, clear: bool, store: Path | None) -> None:
    """List what robspec keeps: logits, what attacks tried, proofs of Lipschitz constants, compiled kernels.

    Nothing kept is needed: it is looked up by the content of what it was computed from, and computed again where it
    is gone.
    """
    import platformdirs

    from robspec.store import Store, default_path

    most = None if prune is None else _bytes(prune)
    root = Path(platformdirs.user_cache_dir("robspec"))
    path = store or default_path()
    if clear:
        removed = _clear([path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))])
        if store is None:
            removed += _clear(sorted(root.rglob("*"), reverse=True))
        click.echo(f"removed {_size(removed)}")
        return
    if store is not None and not path.exists():
        raise OptionValueError("--store", f"there is no store at {path}", "name the file that `check --store` wrote")
    opened = Store(path) if path.exists() else None
    if most is not None and opened is not None:
        click.echo(f"dropped {opened.prune(most)} batches")
    kept = {} if opened is None else opened.summary()
    if opened is not None and opened.trouble:
        raise click.UsageError(f"{path} cannot be used: {opened.trouble}")
    for kind in sorted(kept):
        count, size = kept[kind]
        click.echo(f"{kind}: {count} batches, {_size(size)}, in {path}")
    folders = sorted(p for p in root.glob("*") if p.is_dir()) if store is None else []
    if not kept and not folders:
        click.echo(f"nothing is kept in {root if store is None else path}")
    for folder in folders:
        files = [f for f in folder.rglob("*") if f.is_file()]
        click.echo(f"{folder.name}: {len(files)} files, {_size(sum(f.stat().st_size for f in files))}, in {folder}")
    if opened is not None:
        opened.close()


def _clear(paths: list[Path]) -> int:
    removed = 0
    for path in paths:
        try:
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            elif path.exists() or path.is_symlink():
                removed += path.lstat().st_size
                path.unlink()
        except OSError:
            continue  # another process uses it
    return removed


def _bytes(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,12}) ?([KMG]?)(?:i?B)?", text, re.ASCII | re.IGNORECASE)
    if match is None:
        raise click.UsageError(f"{text[:20]!r} is no size; write whole numbers of K, M or G, such as 200M")
    return int(match[1]) * _UNITS[match[2].upper()]


def _size(count: int) -> str:
    for unit in ("G", "M", "K"):
        if count >= _UNITS[unit]:
            return f"{count / _UNITS[unit]:.1f} {unit}iB"
    return f"{count} bytes"
