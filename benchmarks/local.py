"""What linear bounds over the ball itself are worth for an ordinary network: a knapsack with a local constant.

    python -m benchmarks.local [--scene 0] [--side 32] [--eps 0.01 0.03 0.1 0.3 1] [--model standard]

Over the ball ||x - x0||_2 <= eps each margin is bounded below by a linear function, m_i(x) >= c_i + a_i (x -
x0), by CROWN (Zhang et al., "Efficient Neural Network Robustness Certification with General Activation
Functions", NeurIPS 2018). Where all pixels of a set C are wrong, -a_i (x - x0) >= c_i for each of them; where
all c_i > 0, the sum of the c_i^2 is at most ||A_C (x - x0)||_2^2 <= ||A_C||_2^2 eps^2, A_C the rows of C. The
pixels with c_i > ||a_i||_2 eps are in no such set, those with c_i <= 0 are given away; ||A_C||_2 is at most
||A_F||_2, F the pixels that are left, and the largest C is found greedily. The same holds with every row and
its c_i divided by ||a_i||_2, and the better of the two is taken.

The arithmetic is float32 and rounds to nearest: this is a measurement and no proof. The ordinary network of
`specs/runway` is convolutions and ReLU; a smaller `--side` takes the middle of a scene, as it runs on any size.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

RUNWAY = Path(__file__).resolve().parents[1] / "specs" / "runway"
_ROWS = 128
"""Linear functions that are taken back through the network at once."""


@dataclass(frozen=True)
class Layer:
    """One linear map, and whether a ReLU follows."""

    weight: Tensor
    bias: Tensor
    stride: int
    padding: int
    transposed: bool

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        apply = functional.conv_transpose2d if self.transposed else functional.conv2d
        return apply(x, self.weight, self.bias, self.stride, self.padding)

    def linear(self, rows: Tensor) -> Tensor:
        """Take linear functions of its output back to its input."""
        apply = functional.conv2d if self.transposed else functional.conv_transpose2d
        return apply(rows, self.weight, None, self.stride, self.padding)

    def width(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Bound its output entry by entry."""
        apply = functional.conv_transpose2d if self.transposed else functional.conv2d
        middle = apply((low + high) / 2, self.weight, self.bias, self.stride, self.padding)
        far = apply((high - low) / 2, self.weight.abs(), None, self.stride, self.padding)
        return middle - far, middle + far


def read(path: Path) -> list[Layer]:
    """Read an archive of convolutions and ReLU; what is done to the image first goes into the first weights."""
    program = torch.export.load(path)
    state = {**program.state_dict, **program.constants}
    names = dict(program.graph_signature.inputs_to_parameters)
    names |= dict(program.graph_signature.inputs_to_buffers) | {
        s.arg.name: s.target for s in program.graph_signature.input_specs if s.target
    }
    found: list[Layer] = []
    shift, scale = torch.zeros(3), torch.ones(3)
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        name = str(node.target).split(".")[1]
        given = [state[names[a.name]].detach() if getattr(a, "name", None) in names else a for a in node.args[1:]]
        if name == "sub":
            shift = given[0].flatten()
        elif name == "mul":
            scale = given[0].flatten()
        elif name in ("conv2d", "conv_transpose2d"):
            stride = given[2][0] if len(given) > 2 else 1
            padding = given[3] if len(given) > 3 else 0
            side = given[0].shape[-1]
            padding = side // 2 if padding == "same" else padding[0] if isinstance(padding, list) else int(padding)
            found.append(Layer(given[0], given[1], stride, padding, name == "conv_transpose2d"))
        elif name != "relu":
            raise ValueError(f"{name} is neither a convolution nor a ReLU")
    first = found[0]
    weight = first.weight * scale[None, :, None, None]
    bias = first.bias - (weight * shift[None, :, None, None]).sum((1, 2, 3))
    return [Layer(weight, bias, first.stride, first.padding, False), *found[1:]]


def run(layers: list[Layer], image: Tensor) -> Tensor:
    """Compute the logits."""
    for layer in layers[:-1]:
        image = functional.relu(layer.forward(image))
    return layers[-1].forward(image)


@dataclass(frozen=True)
class Bounds:
    """Least and largest value of what each ReLU is given."""

    low: Tensor
    high: Tensor


def back(layers: list[Layer], known: list[Bounds], rows: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Bound linear functions of a layer's output from below by linear functions of the image.

    Args:
        layers: up to that layer.
        known: what the ReLUs before it are given.
        rows: the functions, [R, C, H, W].
        image: in the middle of the ball, [1, C, H, W].

    Returns:
        Coefficients [R, C, H, W], and the values in the middle, [R].
    """
    fixed = torch.zeros(len(rows))
    for k in range(len(layers) - 1, -1, -1):
        fixed = fixed + (rows.sum((2, 3)) * layers[k].bias).sum(1)
        rows = layers[k].linear(rows)
        if k:
            low, high = known[k - 1].low, known[k - 1].high
            unstable = (low < 0) & (high > 0)
            chord = torch.where(unstable, high / (high - low).clamp_min(1e-12), (low >= 0).float())
            under = torch.where(unstable, (high > -low).float(), chord)
            lift = torch.where(unstable, -chord * low, 0.0)
            fixed = fixed + (rows.clamp_max(0) * lift).sum((1, 2, 3))
            rows = rows.clamp_min(0) * under + rows.clamp_max(0) * chord
    return rows, fixed + (rows * image).sum((1, 2, 3))


def hidden(layers: list[Layer], image: Tensor, eps: float) -> list[Bounds]:
    """Bound what every ReLU is given over the ball."""
    known: list[Bounds] = []
    shape = image
    for k in range(len(layers) - 1):
        shape = layers[k].forward(shape)
        if known:
            low, high = layers[k].width(known[-1].low.clamp_min(0), known[-1].high.clamp_min(0))
        else:
            low, high = torch.full_like(shape, -torch.inf), torch.full_like(shape, torch.inf)
        flat_low, flat_high = low.flatten(), high.flatten()
        # What one layer's intervals decide already needs no more.
        open_ = torch.nonzero((flat_low < 0) & (flat_high > 0)).flatten()
        for part in open_.split(_ROWS):
            rows = torch.zeros(len(part), flat_low.numel())
            rows[torch.arange(len(part)), part] = 1.0
            rows = rows.view(-1, *shape.shape[1:])
            for sign in (1.0, -1.0):
                slopes, middle = back(layers[: k + 1], known, sign * rows, image)
                edge = sign * (middle - eps * slopes.flatten(1).norm(dim=1))
                if sign > 0:
                    flat_low[part] = torch.maximum(flat_low[part], edge)
                else:
                    flat_high[part] = torch.minimum(flat_high[part], edge)
        known.append(Bounds(flat_low.view_as(shape), flat_high.view_as(shape)))
        shape = functional.relu(shape)
    return known


def margins(layers: list[Layer], known: list[Bounds], image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Bound the margins of two classes from below: slopes [N, D] and values in the middle, [N]."""
    height, width = label.shape
    slopes, values = [], []
    for part in torch.arange(height * width).split(_ROWS):
        rows = torch.zeros(len(part), 2, height * width)
        mine = label.flatten()[part]
        rows[torch.arange(len(part)), mine, part] = 1.0
        rows[torch.arange(len(part)), 1 - mine, part] = -1.0
        found, middle = back(layers, known, rows.view(-1, 2, height, width), image)
        slopes.append(found.flatten(1))
        values.append(middle)
    return torch.cat(slopes), torch.cat(values)


def knapsack(slopes: Tensor, values: Tensor, eps: float) -> tuple[int, int, float]:
    """Count pixels that may be wrong: one by one, and together; and the local constant."""
    given = int((values <= 0).sum())
    lengths = slopes.norm(dim=1)
    may = (values > 0) & (values <= lengths * eps)
    alone = given + int(may.sum())
    kept, costs, sizes = slopes[may].double(), values[may].double(), lengths[may].double()
    if not len(costs):
        return alone, given, 0.0
    together, constant = len(costs), 0.0
    for scale in (torch.ones_like(sizes), 1 / sizes):
        scaled = kept * scale[:, None]
        gram = scaled @ scaled.T
        norm = float(torch.linalg.eigvalsh(gram)[-1].clamp_min(0).sqrt())
        constant = constant or norm
        paid = ((costs * scale) ** 2).sort().values.cumsum(0)
        together = min(together, int((paid <= (norm * eps) ** 2 * (1 + 1e-9)).sum()))
    return alone, given + together, constant


def attacked(layers: list[Layer], image: Tensor, label: Tensor, eps: float, steps: int = 40) -> int:
    """Count the pixels that projected gradient makes wrong."""
    sign = torch.where(label == 0, 1.0, -1.0)
    most, change = 0, torch.zeros_like(image)
    for k in range(steps):
        x = (image + change).requires_grad_()
        logits = run(layers, x)
        margin = (logits[0, 0] - logits[0, 1]) * sign
        most = max(most, int((margin <= 0).sum()))
        (slope,) = torch.autograd.grad(functional.softplus(-margin * 4, beta=1).clamp_max(4).sum(), x)
        change = (change + slope / slope.norm().clamp_min(1e-12) * eps * (1 - k / steps)).detach()
        change = change * min(1.0, eps / float(change.norm().clamp_min(1e-12)))
    return most


def main() -> None:
    """Measure one scene."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="standard")
    parser.add_argument("--scene", type=int, default=0)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--eps", type=float, nargs="*", default=[0.01, 0.03, 0.1, 0.3, 1.0])
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    layers = read(RUNWAY / f"{given.model}.pt2")
    path = sorted((RUNWAY / "images").glob("*.png"))[given.scene]
    pixels = torch.tensor(np.asarray(Image.open(path)), dtype=torch.float32).permute(2, 0, 1)[None] / 255
    truth = torch.tensor(np.asarray(Image.open(RUNWAY / "masks" / path.name)), dtype=torch.int64)
    ahead = (
        (truth == 1).nonzero().float().mean(0).round().long() if bool((truth == 1).any()) else torch.tensor([32, 32])
    )
    top, left = ((int(a) - given.side // 2) // 4 * 4 for a in ahead)
    top, left = (min(max(a, 0), 64 - given.side) for a in (top, left))
    image = pixels[:, :, top : top + given.side, left : left + given.side].contiguous()
    label = truth[top : top + given.side, left : left + given.side]
    right = run(layers, image).argmax(1)[0] == label
    print(f"{path.name}, {given.side} x {given.side}, {int(right.sum())} of {right.numel()} right")
    print("eps: wrong by attack / by bounds together / one by one, local constant, open ReLUs, seconds", flush=True)
    for eps in given.eps:
        began = time.perf_counter()
        known = hidden(layers, image, eps)
        slopes, values = margins(layers, known, image, label)
        alone, together, constant = knapsack(slopes, values, eps)
        with torch.enable_grad():
            found = attacked(layers, image, label, eps)
        open_ = [int(((b.low < 0) & (b.high > 0)).sum()) for b in known]
        spent = time.perf_counter() - began
        total = sum(b.low.numel() for b in known)
        print(
            f"{eps}: {found} / {together} / {alone}, {constant:.3g}, {sum(open_)} of {total} {open_}, {spent:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
