"""Small networks whose nearest counterfactuals are known, and what puts questions to them."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from robspec.explanations.decision import Decision
from robspec.explanations.explain import Explainer, Subject
from robspec.explanations.question import Annotation
from robspec.explanations.search import Effort
from robspec.ir.types import Property
from robspec.lower.compile import compile_text
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2, Norm
from robspec.verify.backend import choose

SPEC = """language 1
model {{
  input image [{channels}, {height}, {width}] in [0, 1]
  output logits [{logits}, {height}, {width}]
  classes {classes}
}}
data val {{
  images "*.png"
  masks "*.png"
}}
property asked {{
{body}
  require radius >= 0.0001{which}
}}
"""


@dataclass(frozen=True)
class Model:
    """A module as the search sees a loaded model, in one arithmetic."""

    module: nn.Module
    dtype: torch.dtype = torch.float32

    def logits(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.module.to(self.dtype)(images.to(self.dtype))

    def differentiable(self, images: Tensor) -> Tensor:
        return self.module.to(self.dtype)(images.to(self.dtype))


class Linear(nn.Module):
    """Scores W x + b of a whole image, [B, K]."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1) @ self.weight.T + self.bias


class Radial(nn.Module):
    """One score, |x - centre| - radius: positive outside a ball."""

    def __init__(self, radius: float) -> None:
        super().__init__()
        self.radius = radius

    def forward(self, image: Tensor) -> Tensor:
        return torch.linalg.vector_norm(image - 0.5, dim=(1, 2, 3))[:, None] - self.radius


class Pixelwise(nn.Module):
    """Logits (-s, s) of each pixel's own grey value: every pixel can be flipped by itself."""

    def forward(self, image: Tensor) -> Tensor:
        s = (image[:, :1] - 0.5) / 2**0.5
        return torch.cat([-s, s], 1)


def constant(value: float | Fraction = 1, norm: Norm = L2) -> Constant:
    # Above the true one by a little, as weights are rounded.
    return Constant(Fraction(value) * (1 + Fraction(1, 10**6)), norm, L2, ConstantStatus.PROVED)


def explainer(
    module: nn.Module, asked: Decision | Property, bound: Constant, classes: int = 2, steps: int = 40
) -> Explainer:
    models = (Model(module), Model(copy.deepcopy(module), torch.float64))
    what = asked if isinstance(asked, Decision) else (asked, None, 0)
    names = tuple(f"c{k}" for k in range(classes))
    return Explainer(models, bound, what, names, choose("reference"), (0.0, 1.0), Effort(steps))


def subject(image: Tensor, labels: Tensor | None = None) -> Subject:
    return Subject("x.png", image, Annotation(labels))


def asked(body: str, side: tuple[int, int], logits: int = 2, channels: int = 1) -> Property:
    text = SPEC.format(
        channels=channels,
        height=side[0],
        width=side[1],
        logits=logits,
        classes=", ".join(f"c{k}" for k in range(max(logits, 2))),
        body=re.sub(r" (?=norm|degraded)", r"\n  ", f"  {body}"),
        which="" if "pooled" in body else " for all images",
    )
    program, found = compile_text(text)
    assert program is not None, found
    return program.properties[0]
