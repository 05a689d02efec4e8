"""`robspec lipschitz`: prove a model's Lipschitz constant and show where it comes from."""

from __future__ import annotations

import glob
import json
import math
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robspec import stopping
from robspec.cli import _options, _rounding
from robspec.cli._proving import proving
from robspec.lipschitz.derivation import Derivation, Row
from robspec.lipschitz.figures import lower_text, upper_text
from robspec.semantics.norm import L1, L2, LINF

if TYPE_CHECKING:
    from robspec.function.program import AnyProgram
    from robspec.lipschitz.pair import Pair
    from robspec.lipschitz.rounding.errors import NoRoundingRule
    from robspec.lipschitz.rounding.recursion import Rounding
    from robspec.models.choice import Choice

_NORMS = {norm.name: norm for norm in (L1, L2, LINF)}
_BAR = 8
_RULE = 20


def _time(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    if not 0 <= value < math.inf:
        raise click.BadParameter(f"{value:g} is no time: give 0 or more seconds")
    return value


@click.command("lipschitz")
@click.argument("model", type=click.Path(path_type=Path))
@_options.model_part
@click.option("--norm", type=click.Choice(list(_NORMS)), default="l2", help="Norm of images and logits alike.")
@click.option("--input-norm", type=click.Choice(list(_NORMS)), help="Norm of images, if another.")
@click.option("--output-norm", type=click.Choice(list(_NORMS)), help="Norm of logits, if another.")
@click.option("--images", metavar="GLOB", help="Images the search for a lower bound starts from.")
@click.option("--seconds", default=10.0, callback=_time, show_default=True, help="Time for that search; 0 skips it.")
@click.option("--pair", "pair_path", type=click.Path(path_type=Path), help="Where to store the pair (.npz).")
@click.option("--all", "everything", is_flag=True, help="Show the nodes of bound exactly 1 too.")
@click.option("--rounding", is_flag=True, help="Prove what rounding may change of the logits, node by node.")
@click.option(
    "--range",
    "within",
    type=(float, float),
    help="Of images as the network takes them, for --rounding.  [0 1]",
)
@click.option(
    "--workers", type=click.IntRange(1, 256), default=1, metavar="N", help="Find norms of nodes in N threads.  [1]"
)
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
def command(
    model: Path,
    model_output: str | None,
    given: str | None,
    fixed: tuple[str, ...],
    norm: str,
    input_norm: str | None,
    output_norm: str | None,
    images: str | None,
    seconds: float,
    pair_path: Path | None,
    everything: bool,
    rounding: bool,
    within: tuple[float, float] | None,
    workers: int,
    style: str,
) -> int:
    """Prove an upper bound on a model's Lipschitz constant, and measure a lower one.

    MODEL is a torch.export archive (.pt2) or an ONNX file. Every node of its graph gets a row: how much it can
    multiply distances, and the bound from the image up to it. The lower bound is realised by a pair of images that is
    stored.
    """
    from robspec.lipschitz.cache import cached
    from robspec.lipschitz.measure import measure
    from robspec.lipschitz.pair import decide_claim
    from robspec.lipschitz.tail import find
    from robspec.models.choice import read_choice

    if within is not None and not rounding:
        raise click.UsageError("--range is for --rounding alone")
    within = within or (0.0, 1.0)
    p, q = _NORMS[input_norm or norm], _NORMS[output_norm or norm]
    program, shape = _load(model, read_choice(model_output, given, fixed))
    with proving():
        derivation = cached(program, input_norm=p, output_norm=q, workers=workers)
        tail = find(program) if p == q == L2 else None
        coarse = None if tail is None else cached(tail.coarse, input_norm=p, output_norm=q, workers=workers)
        rounded, refused = _rounded(program, shape[0], within) if rounding else ([], None)
    pair = None
    stopped = False
    starts = None if images is None or seconds == 0 else _images(images, shape)
    try:
        if seconds > 0:
            pair = measure(program, input_norm=p, output_norm=q, images=starts, seconds=seconds)
    except KeyboardInterrupt:
        stopped = True  # the proof stands
    if pair is not None:
        decide_claim(Fraction(0), derivation, pair)
        pair_path = pair_path or Path("robspec-out") / "lipschitz" / f"{model.stem}.{p}-{q}.npz"
        _store(pair, pair_path)
    if style == "json":
        report = _report(model, derivation, pair, pair_path)
        if tail is not None and coarse is not None:
            report["coarse"] = {"node": tail.node, "text": tail.text, "upper": coarse.bound}
        click.echo(json.dumps(report | ({"rounding": _rounding.as_json(rounded)} if rounding else {}), indent=2))
    else:
        _show(model, derivation, pair, pair_path if pair is not None else None, everything=everything)
        if tail is not None and coarse is not None:
            text = f"coarse logits at {tail.text}; constant there at most {upper_text(coarse.bound, 9)}"
            click.echo(text)
        _rounding.show(rounded, within, everything=everything)
    if refused is not None:  # what is proved of the constant stands
        raise refused
    if stopped:
        click.echo("interrupted: the search for a lower bound was not finished, the proof was", err=True)
    return stopping.STATUS if stopped else 0


def _rounded(
    program: AnyProgram, channels: int, within: tuple[float, float]
) -> tuple[list[Rounding], NoRoundingRule | None]:
    """Bound what rounding may change, or say later why there is no bound."""
    from robspec.lipschitz.rounding.errors import NoRoundingRule

    try:
        return _rounding.bounds(program, channels, within), None
    except NoRoundingRule as error:
        return [], NoRoundingRule(error.where, error.what, "leave out --rounding, or give a smaller --range")


def _load(path: Path, choice: Choice) -> tuple[AnyProgram, tuple[int, int, int]]:
    """Load an exported program; the only place that knows how."""
    from robspec.models.conduct import peeled_notes
    from robspec.models.loading import load

    found = load(path, choice=choice)
    for line in found.remarks:
        click.echo(line, err=True)
    for note in peeled_notes(found):
        click.echo(str(note), err=True)
    return found.program, found.input_shape


def _images(pattern: str, shape: tuple[int, int, int]) -> list[Any]:
    """Read images as `check` does, with values in [0, 1], float64 [C, H, W]."""
    from robspec.data.pairing import Pair as Named
    from robspec.data.reading import file_bytes, image, image_header
    from robspec.data.scaling import to_range

    paths = sorted(glob.glob(pattern))
    if not paths:
        raise click.BadParameter(f"no file matches {pattern}", param_hint="--images")
    found = []
    for path in paths:
        named = Named(path, "")
        header = image_header(named.image, path, shape)
        stored = image(file_bytes(named.image, path), named, header, shape, math.prod(shape))
        found.append(to_range(stored, Fraction(0), Fraction(1), path).astype("float64"))
    return found


def _store(pair: Pair, path: Path) -> None:
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        first=pair.first,
        second=pair.second,
        ratio=np.float64(pair.ratio),
        lower=np.float64(pair.lower),
        input_norm=np.str_(pair.input_norm.name),
        output_norm=np.str_(pair.output_norm.name),
    )


def _report(model: Path, derivation: Derivation, pair: Pair | None, path: Path | None) -> dict[str, Any]:
    loosest, cost = derivation.loosest, derivation.costliest()
    return {
        "model": str(model),
        "input_norm": derivation.input_norm.name,
        "output_norm": derivation.output_norm.name,
        "walk_norm": derivation.walk_norm.name,
        "conversion": {"factor": derivation.conversion, "text": derivation.conversion_text},
        "upper": derivation.bound,
        "upper_hex": derivation.bound.hex(),
        "lower": None if pair is None else pair.lower,
        "pair": None if pair is None else {"path": str(path), "ratio": pair.ratio, "allowance": pair.allowance},
        "loosest": None if loosest is None else loosest.name,
        "costliest": None if cost is None else asdict(cost),
        "folded_constants": derivation.folded,
        "seconds": derivation.seconds,
        "nodes": [
            {
                "node": row.name,
                "module": row.module,
                "source": row.source,
                "rule": row.rule,
                "bound": row.bound,
                "running": row.running,
                "members": list(row.members),
                "grouping_gain": row.grouping_gain,
                "seconds": row.seconds,
            }
            for row in derivation.rows
        ],
    }


def _show(model: Path, derivation: Derivation, pair: Pair | None, path: Path | None, *, everything: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=_options.table_width())
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("node", no_wrap=True)
    table.add_column("module", no_wrap=True, ratio=1, min_width=8)
    table.add_column("rule", no_wrap=True)
    table.add_column("bound", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, width=_BAR)
    table.add_column("running", justify="right", no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    loosest = derivation.loosest
    shown = [row for row in derivation.rows if everything or row is loosest or row.bound != 1.0]
    width = max(8, console.width - 70)
    for row in shown:
        mark = row is loosest
        table.add_row(
            Text(row.name),
            Text(_tail(row.module, width)),
            Text(_rule(row)),
            Text(upper_text(row.bound, 7)),
            Text(_bar(row, loosest), style="red" if mark else "cyan"),
            Text(upper_text(row.running, 7)),
            Text(f"{row.seconds:.2f}"),
            style="bold red" if mark else None,
        )
    console.print(f"{model.name}: {derivation.input_norm} image to {derivation.output_norm} logits", highlight=False)
    console.print(table)
    hidden = len(derivation.rows) - len(shown)
    if hidden:
        console.print(f"{hidden} nodes of bound exactly 1 are left out (--all shows them)", highlight=False)
    if loosest is not None:
        text = f"loosest: {loosest.name} multiplies distances by up to {upper_text(loosest.bound, 7)}"
        console.print(text, style="bold red", highlight=False)
    cost = derivation.costliest()
    if cost is not None:
        text = (
            f"costliest: {cost.name} ({cost.where}), a factor of up to {upper_text(cost.factor, 7)}: "
            f"{100 * cost.share:.0f} % of the logarithm of all that multiply distances"
        )
        console.print(text, highlight=False, markup=False)
    for row in derivation.rows:
        if row.grouping_gain > 1.0 + 1e-9:
            gain = f"grouping up to {row.name} tightened the bound {row.grouping_gain:.6f} times"
            console.print(gain, highlight=False)
    if derivation.conversion_text:
        console.print(f"conversion of norms: {derivation.conversion_text}", highlight=False)
    low = "?" if pair is None else lower_text(pair.lower, 9)
    line = f"Lipschitz constant in [{low}, {upper_text(derivation.bound, 9)}]"
    console.print(line, style="bold", highlight=False)
    console.print(f"proved in {derivation.seconds:.1f} s; {derivation.folded} constants folded", highlight=False)
    if path is not None:
        console.print(f"pair stored in {path}", highlight=False)


def _rule(row: Row) -> str:
    """Shorten a group's list of operations from the front, where the padding and scaling are."""
    if len(row.rule) <= _RULE:
        return row.rule
    return "…" + row.rule[-(_RULE - 1) :]


def _tail(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[-(width - 1) :]


def _bar(row: Row, loosest: Row | None) -> str:
    """Draw how far a row's bound exceeds 1, on a scale where the loosest row fills the bar."""
    if loosest is None or loosest.bound <= 1.0 or row.bound <= 1.0:
        return ""
    share = (row.bound - 1.0) / (loosest.bound - 1.0)
    return "█" * max(0, round(share * _BAR)) or "▏"
