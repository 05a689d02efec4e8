"""`robspec compare`: several models under one specification."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from robspec import extras
from robspec.cli import _options
from robspec.diagnostics import SpecError, render_all
from robspec.syntax.source import read_source
from robspec.verify.errors import OptionValueError

if TYPE_CHECKING:
    from robspec.ir.types import Program
    from robspec.semantics.smoothing import Smoothing
    from robspec.session.compare import Row


@click.command("compare", short_help="Set several models side by side under one specification.")
@click.argument("models", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Folder the data globs start from [the spec's folder].")
@click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="Override a param; repeatable.")
@_options.use
@click.option("--property", "properties", multiple=True, metavar="NAME", help="Only this property; repeatable.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N images.")
@click.option("--attack", type=click.IntRange(1, 10_000), metavar="STEPS", help="Attack each image, as `check` does.")
@_options.attacking
@click.option("--smoothing", metavar="SIGMA", help="Also certify worst cases in l2 by smoothing with such noise.")
@click.option("--samples", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Of --smoothing.")
@click.option("--alpha", metavar="A", default="0.001", show_default=True, help="Of --smoothing: chance of an error.")
@click.option("--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Write the table here instead of standard output.")
@click.option(
    "--picture", type=click.Path(path_type=Path), help="Draw it here; FILE.svg or FILE.png (extra `plots`)."
)
@click.option(
    "--curve", type=click.Path(path_type=Path), help="Draw certified and found against eps; FILE.svg or FILE.png."
)
@click.option("--decompose", is_flag=True, help="Say how much of the gap is the constant, and how much the rest.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    models: tuple[Path, ...],
    spec: Path,
    data: Path | None,
    overrides: tuple[str, ...],
    use: str | None,
    properties: tuple[str, ...],
    limit: int | None,
    attack: int | None,
    attack_methods: tuple[str, ...],
    attack_restarts: int | None,
    attack_seconds: float | None,
    smoothing: str | None,
    samples: int,
    alpha: str,
    form: str,
    output: Path | None,
    picture: Path | None,
    curve: Path | None,
    decompose: bool,
    quiet: bool,
) -> int:
    """Check every one of MODELS under SPEC, whose Lipschitz claim is left aside, and set the results side by side.

    Worst cases are means over the images, rounded to the worse side; radii are medians. `found` is what the worst
    images found attain: without --attack these are the clean ones. `smoothed` is certified of another classifier, the
    vote under noise, and with a probability.

    \b
    Example:
      robspec compare specs/runway/standard.pt2 specs/runway/strong.pt2 specs/runway/runway.rspec --limit 4
    """
    sampled = None if smoothing is None else _smoothing(smoothing, samples, alpha)
    from robspec.lower import compile_source, parse_overrides

    for path in (output, picture, curve):
        if path is not None:
            _options.check_writable(path)
    for name, path in (("--picture", picture), ("--curve", curve)):
        if path is not None and path.suffix.lower() not in (".svg", ".png"):
            raise click.UsageError(f"{name} is FILE.svg or FILE.png")
        if path is not None:
            extras.require("plots", name)
    source = read_source(spec)
    program, diagnostics = compile_source(source, parse_overrides(overrides), use)
    if program is None:
        raise SpecError(diagnostics, source)
    if diagnostics:
        click.echo(render_all(diagnostics, source, colour=sys.stderr.isatty()), err=True)

    if curve is not None and not _sweeps(program, properties):
        raise OptionValueError("--curve", "no property has a sweep", "write `budget 0 to 1 points 7` into one")

    from robspec.session.check import Options
    from robspec.session.compare import compare, document
    from robspec.session.progress import silent
    from robspec.store import default_path

    # The interval is what is compared, of decided images as well.
    searched = _options.attack_of(attack, attack_methods, attack_restarts, attack_seconds, everything=False)
    searched["attack_all"] = searched["attack"] is not None
    options = Options(data=data, properties=properties, limit=limit, store=default_path(), **searched)
    rows = compare(
        models,
        program,
        source,
        diagnostics,
        spec,
        options,
        smoothing=sampled,
        progress=silent if quiet else _options.with_progress,
        told=lambda name: None if quiet else click.echo(name, err=True),
        decompose=decompose,
    )
    if form == "json":
        text = json.dumps(document(rows, options.attack is not None), indent=2) + "\n"
    else:
        text = "".join(f"{line}\n" for line in _table(rows, markdown=form == "markdown"))
    if output is None:
        click.echo(text, nl=False)
    else:
        _options.write_atomically(output, text)
    if picture is not None:
        _options.write_atomically(picture, _drawn(rows, picture.suffix.lower()[1:]))
    if curve is not None:
        from robspec.cli._curves import drawn

        _options.write_atomically(curve, drawn(rows, curve.suffix.lower()[1:]))
    return 0 if len(rows) == len(models) and all(r.report.complete for r in rows) else 130


def _sweeps(program: Program, names: Sequence[str]) -> bool:
    """Whether a property that is asked for has several budgets."""
    from robspec.ir.types import WorstCaseQuery

    asked = [p.query for p in program.properties if not names or p.name in names]
    return any(isinstance(query, WorstCaseQuery) and len(query.budgets) > 1 for query in asked)


def _smoothing(sigma: str, samples: int, alpha: str) -> Smoothing:
    from robspec.semantics.smoothing import SELECTION, Smoothing

    deviation, chance = (
        _options.positive_decimal(name, value) for name, value in (("--smoothing", sigma), ("--alpha", alpha))
    )
    if chance >= 1:
        raise click.UsageError("--alpha is a probability, above 0 and below 1")
    return Smoothing(deviation, samples, SELECTION, chance)


def _table(rows: Sequence[Row], *, markdown: bool) -> Iterator[str]:
    from robspec.session.compare import shown

    sampled = any(cell.smoothed is not None for row in rows for cell in row.cells)
    extra = ("smoothed",) if sampled else ()
    head = ("model", "clean", "certified", *extra, "found", "s/image", "forward s/image", "verdict")
    for index, cell in enumerate(rows[0].cells if rows else ()):
        yield f"{'### ' if markdown else ''}{cell.property}: {cell.query} ({cell.of} over {rows[0].images} images)"
        lines: list[tuple[str, ...]] = [head]
        for row in rows:
            one = row.cells[index]
            ends = (one.clean, one.certified, *((one.smoothed,) if sampled else ()), one.attained)
            values = [shown(v, lower_is_better=one.lower_is_better) for v in ends]
            name = Path(row.model).name
            lines.append((name, *values, f"{row.seconds:.3f}", f"{row.forward:.3f}", one.label))
        yield ""
        yield from _laid_out(lines, markdown=markdown)
        yield ""
    for row in rows:
        yield f"{'- ' if markdown else ''}{Path(row.model).name}: {row.constant}"
        yield from (f"{'- ' if markdown else ''}{line}" for line in _parts(row))
    notes = dict.fromkeys(n for row in rows for n in (*row.report.notes, *map(str, row.report.remarks)))
    yield from (f"{'- ' if markdown else ''}{note}" for note in notes)


def _parts(row: Row) -> Iterator[str]:
    """What the gap between certified and found consists of, where slopes were measured."""
    from robspec.semantics.norm import decimal_text, directed_text
    from robspec.session.compare import shares

    for cell in row.cells:
        found = shares(cell)
        if found is None or cell.slope is None or cell.eps is None:
            continue
        constant, rest = (directed_text(part, 4, up=False) for part in found)
        slope = directed_text(cell.slope, 4, up=False)
        yield (
            f"{Path(row.model).name}, {cell.property} at eps = {decimal_text(cell.eps)}: of the gap, {constant} is "
            f"the constant (two images show L >= {slope}), {rest} the relaxation and the attack"
        )


def _laid_out(lines: Sequence[tuple[str, ...]], *, markdown: bool) -> Iterator[str]:
    if markdown:
        escaped = [tuple(c.replace("|", "\\|") for c in line) for line in lines]
        yield f"| {' | '.join(escaped[0])} |"
        yield "|---" + "|---:" * (len(escaped[0]) - 2) + "|---|"
        yield from (f"| {' | '.join(line)} |" for line in escaped[1:])
        return
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    for line in lines:
        cells = [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:-1], widths[1:-1], strict=True))]
        yield "  ".join((*cells, line[-1]))


def _drawn(rows: Sequence[Row], form: str) -> bytes:
    """Bars of what is certified, within what was found, for each property."""
    import io
    import math

    from matplotlib.figure import Figure

    cells = rows[0].cells if rows else ()
    figure = Figure(figsize=(5, 0.9 + len(cells) * (0.7 + 0.34 * len(rows))), layout="constrained")
    panels = figure.subplots(max(len(cells), 1), 1, squeeze=False)[:, 0]

    def number(value: object) -> float:
        found = math.nan if value is None else float(value)  # type: ignore[arg-type]
        return found if math.isfinite(found) else math.nan

    for index, cell in enumerate(cells):
        panel, names = panels[index], [Path(r.model).name for r in rows]
        panel.barh(names, [number(r.cells[index].certified) for r in rows], color="#1f5a8a", label="certified")
        found = [number(r.cells[index].attained) for r in rows]
        panel.plot(found, names, "|", color="#c0622b", markersize=16, label="found")
        sampled = [number(r.cells[index].smoothed) for r in rows]
        if not all(map(math.isnan, sampled)):
            panel.plot(sampled, names, "x", color="#6a4c93", label="smoothed")
        clean = [number(r.cells[index].clean) for r in rows]
        if cell.of != "median":
            panel.plot(clean, names, ".", color="#333333", label="clean")
        panel.set_title(f"{cell.property}: {cell.query}", fontsize=8, loc="left")
        panel.invert_yaxis()
        panel.tick_params(labelsize=7)
    if cells:
        handles, labels = max((p.get_legend_handles_labels() for p in panels), key=lambda found: len(found[1]))
        figure.legend(handles, labels, fontsize=7, frameon=False, loc="outside lower center", ncols=4)
    out = io.BytesIO()
    figure.savefig(out, format=form, dpi=150)
    return out.getvalue()
