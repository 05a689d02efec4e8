"""`robspec export`: write a model archive that every robspec accepts."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from robspec.errors import RobspecError


def _shape(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[int, int, int]:
    parts = value.split(",")
    if len(parts) != 3 or not all(p.strip().isdigit() and int(p) > 0 for p in parts):
        raise click.BadParameter("give channels, height and width, for example 3,256,256")
    channels, height, width = (int(p) for p in parts)
    return channels, height, width


@click.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--arch", required=True, metavar="PACKAGE.MODULE:FACTORY", help="Function that builds the network.")
@click.option("--weights", type=click.Path(path_type=Path), help="State dict or safetensors file to load first.")
@click.option("--key", metavar="NAME", help="The table of weights in a checkpoint, such as state_dict.")
@click.option("--strip-prefix", "prefix", default="", metavar="PREFIX", help="What the weights' names have more.")
@click.option("--input", "shape", required=True, callback=_shape, metavar="C,H,W", help="Shape of one image.")
@click.option("--output", "picked", metavar="KEY", help="The logits, where the network returns several things.")
@click.option(
    "--accumulate",
    type=click.Choice(["float32", "float64"]),
    default="float32",
    help="What convolutions and linear layers add up in; each stores float32.  [float32]",
)
@click.option("--batch-max", default=64, show_default=True, type=click.IntRange(min=1), help="Largest batch.")
def command(
    output: Path,
    arch: str,
    weights: Path | None,
    key: str | None,
    prefix: str,
    shape: tuple[int, int, int],
    picked: str | None,
    accumulate: str,
    batch_max: int,
) -> None:
    """Write OUTPUT, an archive of the network with its weights made explicit.

    The factory is imported from the current folder: it is your own code, and it runs. The weights file is not
    trusted, and is never unpickled. The archive's logits are compared with the module's before it is written. A
    detector may return two tensors, scores [B, K, N] and boxes [B, 4, N].

    With --accumulate float64 every sum of products is rounded once, when it is stored: of such an archive `check
    --arithmetic deployed` proves far more. It is slower.

    Of a checkpoint, --key names the table of weights, keys inside one another joined by dots; the message that asks
    for it lists those there are. --strip-prefix takes what it names off the weights' names, such as `module.` of
    DataParallel; weights whose names begin otherwise are left out.
    """
    from robspec.models.architecture import build, load_weights, put_weights
    from robspec.models.export import export_archive
    from robspec.models.names import listed
    from robspec.models.picked import Picked
    from robspec.models.writing import write_whole

    if weights is None and (key is not None or prefix):
        raise click.UsageError("--key and --strip-prefix choose from a file: name it with --weights")
    found, left = (None, []) if weights is None else load_weights(weights, key=key, prefix=prefix)
    network = build(arch)
    if picked is not None:
        if found is not None:
            put_weights(network, found, arch)
        network, found = Picked(network, picked), None
    made = export_archive(network, found, shape, batch_max, arch, accumulates=accumulate == "float64")
    _refuse_what_check_refuses(made.archive, output, boxes=bool(made.boxes_shape))
    write_whole(output, made.archive)
    shown = f"logits {' x '.join(map(str, made.output_shape))}"
    if made.boxes_shape:
        shown = f"scores {' x '.join(map(str, made.output_shape))}, boxes {' x '.join(map(str, made.boxes_shape))}"
    click.echo(f"wrote {output}: {len(made.archive):,} bytes, {shown}, batches of 1 to {batch_max}")
    if left:
        click.echo(f"left out, not under {prefix}: {len(left)} weights: {listed(left)}")
    if made.accumulating:
        click.echo(f"accumulating in float64: {made.accumulating} convolutions and products")
    click.echo(f"weights made explicit: {len(made.explicit)}")
    click.echo(f"largest difference to the module's logits: {made.difference:.3g} (allowed {made.tolerance:.3g})")


def _refuse_what_check_refuses(archive: bytes, output: Path, *, boxes: bool) -> None:
    """Load the archive as a check does, before anything is written.

    Raises:
        RobspecError: a check would refuse it.
    """
    from robspec.models.loading import BOXES, load

    with tempfile.TemporaryDirectory(prefix="robspec-export-") as folder:
        path = Path(folder) / "model.pt2"
        path.write_bytes(archive)
        try:
            load(path, detector=BOXES if boxes else None, boxes=boxes)
        except RobspecError as error:
            raise type(error)(str(output), f"nothing was written: {error.what}", error.mend) from error
