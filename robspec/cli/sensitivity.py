"""`robspec sensitivity`: how much one sample can change a training step, parameter by parameter."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from robspec.cli import _options
from robspec.cli._proving import proving
from robspec.lipschitz.figures import upper_text
from robspec.privacy.losses import LOSSES, Loss

if TYPE_CHECKING:
    from robspec.privacy.sensitivity import Sensitivity


@click.command("sensitivity", short_help="Bound what one sample can change of a training step.")
@click.argument("model", type=click.Path(path_type=Path))
@_options.model_part
@click.option("--loss", "kind", type=click.Choice(tuple(LOSSES)), required=True, help="Loss of one sample.")
@click.option("--tau", type=float, default=1.0, show_default=True, help="Inverse temperature, of cross-entropy.")
@click.option("--floor", type=float, default=1.0, show_default=True, help="Least length of logits, of cosine.")
@click.option("--batch", type=click.IntRange(min=1), required=True, help="Expected batch size, which is public.")
@click.option("--input-bound", type=float, help="l2 norm that images are projected to; else that of all ones.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
def command(
    model: Path,
    model_output: str | None,
    given: str | None,
    fixed: tuple[str, ...],
    kind: str,
    tau: float,
    floor: float,
    batch: int,
    input_bound: float | None,
    style: str,
) -> None:
    """Bound the gradient of one sample's loss in each trained parameter of MODEL, for every image and label.

    MODEL is a torch.export archive (.pt2). DELTA bounds what adding or removing one sample changes of the sum of
    gradients over a batch; DELTA / BATCH of that sum divided by the expected batch size.

    \b
    Example:
      robspec sensitivity model.pt2 --loss tau-cce --batch 64 --input-bound 3
    """
    from robspec.lipschitz import directed
    from robspec.models.choice import read_choice
    from robspec.models.loading import load
    from robspec.privacy.sensitivity import sensitivity

    found = load(model, choice=read_choice(model_output, given, fixed))
    for line in found.remarks:
        click.echo(line, err=True)
    norm = directed.sqrt(float(math.prod(found.input_shape))) if input_bound is None else input_bound
    if not 0 < norm < math.inf:
        raise click.BadParameter(f"{norm:g} is no norm: give a positive number", param_hint="--input-bound")
    with proving():
        answer = sensitivity(found.program, Loss(kind, tau, floor), norm)
    if style == "json":
        click.echo(json.dumps(_report(model, answer, batch), indent=2))
    else:
        _show(model, answer, batch)


def _report(model: Path, answer: Sensitivity, batch: int) -> dict[str, object]:
    from robspec.lipschitz import directed

    return {
        "model": str(model),
        "input_bound": answer.norm,
        "loss": {"constant": answer.loss, "formula": answer.formula},
        "batch": batch,
        "total": answer.total,
        "parameters": [
            {**asdict(row), "of_the_mean": directed.div(row.sensitivity, float(batch))} for row in answer.rows
        ],
        "notes": [_ARITHMETIC, _TRUST],
    }


_ARITHMETIC = "arithmetic: gradients as computed taken as exact"
_TRUST = "on trust: images are projected to the bound, and training computes this graph"


def _show(model: Path, answer: Sensitivity, batch: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from robspec.lipschitz import directed

    console = Console(width=_options.table_width())
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("parameter", no_wrap=True, ratio=1, min_width=8)
    for name in ("rule", "X", "G", "factor on G", "Delta", "Delta / batch"):
        table.add_column(name, justify="left" if name in ("rule", "factor on G") else "right", no_wrap=True)
    for row in answer.rows:
        figures = [upper_text(v, 5) for v in (row.size, row.gradient)]
        deltas = [upper_text(v, 6) for v in (row.sensitivity, directed.div(row.sensitivity, float(batch)))]
        table.add_row(*map(Text, (row.parameter, row.rule, *figures, row.what, *deltas)))
    text = f"{model.name}: |x| <= {upper_text(answer.norm, 6)}, loss {answer.formula} = {upper_text(answer.loss, 6)}"
    console.print(text, highlight=False)
    console.print(table)
    console.print(f"all parameters at once: Delta = {upper_text(answer.total, 6)}", style="bold", highlight=False)
    console.print("add or remove one sample; to replace one, twice as much", highlight=False)
    for line in (_ARITHMETIC, _TRUST):
        console.print(line, highlight=False)
