"""From an ONNX file to a torch.export archive that computes the same, or to the reason why not."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from robspec.errors import RobspecError
from robspec.function.running import Runner, exact_arithmetic
from robspec.models.choice import Choice
from robspec.models.export import export_archive
from robspec.models.onnx.compare import IMAGES, Runtime, examples
from robspec.models.onnx.errors import OnnxDiffers, OnnxInterface
from robspec.models.onnx.graph import Graph, Images, shown
from robspec.models.onnx.network import Network
from robspec.models.onnx.reading import read

_DTYPES = {1: torch.float32, 11: torch.float64}
_MOST_FIXED = 1 << 26


@dataclass(frozen=True, slots=True)
class Imported:
    """An archive made of an ONNX file, and how it was verified.

    Args:
        archive: its bytes.
        sha256: of the ONNX file and of the weights beside it.
        shape: C, H, W of its images.
        output_shape: K, H, W of its logits, or K alone.
        batch_max: largest batch; 1 for a fixed batch of one.
        fixed_batch: why the batch is fixed, empty where it is free.
        images: on how many it was compared.
        difference: largest absolute difference to onnxruntime's logits.
        tolerance: largest difference taken for rounding.
        runtime: the version of onnxruntime.
    """

    archive: bytes
    sha256: str
    shape: tuple[int, int, int]
    output_shape: tuple[int, ...]
    batch_max: int
    fixed_batch: str
    images: int
    difference: float
    tolerance: float
    runtime: str

    def described(self) -> str:
        """Say how it was verified, in one line."""
        return (
            f"ONNX: its logits on {self.images} images differ from those of onnxruntime {self.runtime} by at most "
            f"{self.difference:.3g} (allowed {self.tolerance:.3g})"
        )


def import_onnx(
    blob: bytes, path: Path, choice: Choice, shape: tuple[int, int, int] | None, batch_max: int = 64
) -> Imported:
    """Read an ONNX file, write it as an archive, and compare both on eight images.

    Args:
        blob: the file's bytes.
        path: where it lies; weights may lie beside it.
        choice: which input, which output, and what is fixed.
        shape: C, H, W of the images without the fixed channels, where the file leaves them free and `choice` does not
            say; None where nobody does.
        batch_max: the largest batch, where the graph allows several images at once.

    Returns:
        The archive.

    Raises:
        RobspecError: E0221 to E0224, E0870; E0207 to E0213, the archive would be refused.
    """
    where = str(path)
    found = read(blob, path)
    graph = found.graph.cut(choice.output, where)
    name, fixed, channels = _chosen(graph, choice, where)
    declared = graph.inputs[name]
    dtype = _DTYPES[declared.kind]
    wanted = choice.shape or shape
    sides = _sides(declared, name, wanted, channels, where)
    graph = replace(graph, inputs={name: replace(declared, sides=(declared.sides[0], *sides)), **_rest(graph, name)})
    network = Network(_held(graph, fixed), name, where, channels)
    images = (sides[0] - len(channels), sides[1], sides[2])
    given = declared.sides[0]
    _check_output(network, graph, (given or 2, *images), where)
    runtime = Runtime(graph, where, name, dtype)
    pictures = examples(images, dtype)
    full = network._assembled(pictures)
    expected = torch.from_numpy(runtime.run(full, fixed, given or 2))
    archive, batch, reason = _exported(network, images, given, batch_max, expected.shape, where)
    got = _rerun(archive, dtype, pictures, batch)
    tolerance = 1e-4 * max(1.0, float(expected.abs().max()))
    if got.shape != expected.shape:
        raise OnnxDiffers(
            where,
            f"onnxruntime gives {list(expected.shape)}, the reading {list(got.shape)}",
            "report it with the file",
        )
    difference = float((got.double() - expected.double()).abs().max())
    if not difference <= tolerance:
        raise OnnxDiffers(
            where,
            f"on {IMAGES} images its logits differ from those of onnxruntime {runtime.version} by {difference:.3g}, "
            f"and {tolerance:.3g} is allowed for rounding",
            "report it with the file; until then export the network from PyTorch",
        )
    return Imported(
        archive,
        found.sha256,
        images,
        tuple(expected.shape[1:]),
        batch,
        reason,
        IMAGES,
        difference,
        tolerance,
        runtime.version,
    )


def _chosen(graph: Graph, choice: Choice, where: str) -> tuple[str, dict[str, Tensor], dict[int, float]]:
    """Say which input takes the images, what the others hold, and which channels are fixed."""
    named = dict(choice.fixed)
    channels = {int(key): named.pop(key) for key in [k for k in named if k.isdigit() and k not in graph.inputs]}
    strange = [key for key in named if key not in graph.inputs]
    listed = shown(tuple(graph.inputs))
    if strange:
        raise OnnxInterface(where, f"there is no input {strange[0][:60]!r} to fix", f"its inputs are {listed}")
    free = [name for name in graph.inputs if name not in named]
    name = choice.image or (free[0] if len(free) == 1 else "")
    if name not in free:
        what = f"there is no input {name[:60]!r}" if name else f"it has the inputs {listed}"
        raise OnnxInterface(where, what, f"name one of {listed} with --input; fix the others with --fix NAME=0")
    unsaid = [other for other in free if other != name]
    if unsaid:
        raise OnnxInterface(
            where, f"the input {unsaid[0][:60]!r} is not fixed", f"fix it with --fix {unsaid[0][:60]}=0"
        )
    if graph.inputs[name].kind not in _DTYPES:
        raise OnnxInterface(where, f"the images {name[:60]!r} are no floats of 32 or 64 bits", "export it in float32")
    return name, {key: _filled(graph.inputs[key], key, number, where) for key, number in named.items()}, channels


def _filled(declared: Images, name: str, number: float, where: str) -> Tensor:
    sides = [side for side in declared.sides if side is not None]
    if len(sides) != len(declared.sides) or declared.kind not in _DTYPES or math.prod(sides) > _MOST_FIXED:
        raise OnnxInterface(
            where,
            f"the input {name[:60]!r} cannot be fixed: it is no tensor of floats of a fixed, small shape",
            "cut it",
        )
    return torch.full(sides, number, dtype=_DTYPES[declared.kind])


def _sides(
    declared: Images, name: str, wanted: tuple[int, int, int] | None, channels: Mapping[int, float], where: str
) -> tuple[int, int, int]:
    """Channels, height and width that the graph takes, fixed channels included."""
    if len(declared.sides) != 4:
        raise OnnxInterface(
            where, f"the input {name[:60]!r} has {len(declared.sides)} sides, images have 4", "export it for images"
        )
    own = declared.sides[1:]
    if wanted is None and None in own:
        text = ",".join(str(side or letter) for side, letter in zip(own, "CHW", strict=True))
        raise OnnxInterface(
            where,
            f"the images {name[:60]!r} are of free sides, {text}, and a constant holds for one size only",
            "give their size with --input C,H,W, such as --input "
            + ",".join(str(side or other) for side, other in zip(own, (3, 256, 256), strict=True)),
        )
    asked = own if wanted is None else (wanted[0] + len(channels), wanted[1], wanted[2])
    if any(mine is not None and mine != other for mine, other in zip(own, asked, strict=True)):
        text = ",".join(str(side or letter) for side, letter in zip(own, "CHW", strict=True))
        less = f", {len(channels)} of them fixed" if channels else ""
        fits = own[0] is not None and wanted is not None and own[0] > wanted[0] and not channels
        mend = f"fix channels that are none of the images: --fix {own[0] - 1}=0" if fits and own[0] else ""
        raise OnnxInterface(
            where,
            f"the graph takes images of {text}{less}, not {','.join(map(str, asked))}",
            mend or f"ask for {text}",
        )
    if any(not 0 <= channel < int(asked[0] or 0) for channel in channels):
        raise OnnxInterface(where, f"there is no channel {max(channels)} to fix, of {asked[0]}", "count from 0")
    return int(asked[0] or 0), int(asked[1] or 0), int(asked[2] or 0)


def _rest(graph: Graph, name: str) -> dict[str, Images]:
    return {other: images for other, images in graph.inputs.items() if other != name}


def _held(graph: Graph, fixed: Mapping[str, Tensor]) -> Graph:
    """The graph with its fixed inputs as constants."""
    return replace(graph, constants={**graph.constants, **{k: v.numpy() for k, v in fixed.items()}})


def _check_output(network: Network, graph: Graph, shape: tuple[int, ...], where: str) -> None:
    """Refuse early, with names to cut at, what can be no logits."""
    found = network.settle(shape)
    if len(found) not in (2, 4) or found[0] != shape[0]:
        raise OnnxInterface(
            where,
            f"the value {graph.outputs[0][:60]!r} is {list(found)} for images of {list(shape)}, no logits",
            graph.suggestion(),
        )


def _exported(
    network: Network,
    images: tuple[int, int, int],
    given: int | None,
    batch_max: int,
    expected: torch.Size,
    where: str,
) -> tuple[bytes, int, str]:
    """Export with a free batch, or with the file's own where that is not possible, and why."""
    if given not in (None, 1):
        raise OnnxInterface(
            where, f"the graph takes {given} images at once", "export it for one image, or with a free batch"
        )
    if batch_max == 1:
        return export_archive(network, None, images, 1, where, traces=False).archive, 1, "as asked"
    try:
        made = export_archive(network, None, images, batch_max, where, traces=False)
    except RobspecError as error:
        if given is None:
            raise
        return export_archive(network, None, images, 1, where, traces=False).archive, 1, error.what
    if given is None or made.output_shape == tuple(expected[1:]):
        return made.archive, batch_max, ""
    return (
        export_archive(network, None, images, 1, where, traces=False).archive,
        1,
        "a shape is of one image",
    )


def _rerun(archive: bytes, dtype: torch.dtype, images: Tensor, batch: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(io.BytesIO(archive))
    runner = Runner(program, dtype, dtype, torch.device("cpu"))
    with exact_arithmetic(torch.device("cpu")):
        parts = [runner.images_to_logits(images[i : i + batch]) for i in range(0, len(images), batch)]
    return torch.cat(parts)
