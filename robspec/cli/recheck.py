"""`robspec recheck`: derive everything a certificate says anew, and compare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from robspec.recheck.recheck import Derived

_SHOWN = 12


@click.command("recheck", short_help="Check a certificate with exact rational arithmetic.")
@click.argument("certificate", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Folder the data globs start from [the spec's folder].")
@click.option("--arch", metavar="PACKAGE.MODULE:FACTORY", help="Architecture of a bare state_dict (runs your code).")
def command(certificate: Path, model: Path, spec: Path, data: Path | None, arch: str | None) -> int:
    """Confirm CERTIFICATE, which `robspec check --certificate` wrote for MODEL and SPEC.

    The constant is proved anew, the model is run again, and from its logits on every cost, cut, value and verdict is
    derived in exact rational arithmetic, by code that shares nothing with the kernels.

    \b
    Exit status: 0 confirmed, whatever its verdicts are; 1 rejected, with the fields
    that differ; 2 no certificate, an altered one, or a file that cannot be read.
    """
    from robspec.cli import _options
    from robspec.recheck import document
    from robspec.recheck.errors import CertificateRejected
    from robspec.recheck.recheck import derive, inputs_of, match_spec
    from robspec.syntax.source import read_source

    written = document.read(certificate)
    inputs, params = inputs_of(written, str(certificate))
    source = read_source(spec)
    match_spec(written, source)
    root = spec.parent if data is None else data
    images = written.get("images")
    total = len(images) if isinstance(images, list) else 0

    def run(progress: Callable[[int], None]) -> Derived:
        seen = 0

        def step(done: int, _: int) -> None:
            nonlocal seen
            progress(done - seen)
            seen = done

        return derive(inputs, params, model, source, root, arch=arch, written=written, progress=step)

    derived = _options.with_progress(run, total, "rechecking")
    found = derived.differences(written)
    if found:
        found.sort(key=lambda f: not f[0].startswith(("sha256", "versions", "images")))
        for path, there, here in found[:_SHOWN]:
            click.echo(f"{path}\n  certificate: {there}\n  derived:     {here}", err=True)
        if len(found) > _SHOWN:
            click.echo(f"and {len(found) - _SHOWN} more fields", err=True)
        raise CertificateRejected(str(certificate), _reason([f[0] for f in found]), _mend([f[0] for f in found]))
    values = sum(len(i["points"]) for p in written["properties"] for i in p["images"])
    click.echo(f"confirmed: {total} images, {values} certified values derived anew in exact arithmetic")
    for prop in written["properties"]:
        click.echo(f"  {prop['name']}: {prop['verdict']}")
    click.echo("taken for granted: " + "; ".join(written["taken_for_granted"]))
    return 0


def _reason(paths: list[str]) -> str:
    count = f"{len(paths)} field{'s' if len(paths) > 1 else ''} differ{'' if len(paths) > 1 else 's'}"
    if any(p.startswith("sha256") for p in paths):
        return f"it is of another model, specification or data set: {count} from what was derived"
    if any(p.startswith("versions") or p.endswith(".logits") for p in paths):
        return f"the logits or the versions are not those it was written with: {count} from what was derived"
    return f"{count} from what was derived"


def _mend(paths: list[str]) -> str:
    if any(p.startswith("sha256") for p in paths):
        return "name the files that were checked"
    if any(p.startswith("versions") or p.endswith(".logits") for p in paths):
        return "recheck on a machine with the same versions and processor, or check again here"
    return "do not rely on it; check again"
