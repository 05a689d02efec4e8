"""Every built-in metric as a specification writes it, tiny images, and the bounds opened on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from hypothesis import strategies as st

from robspec.bounds import FamilyBound, open_bound
from robspec.bounds.context import Context
from robspec.ir.types import Metric
from robspec.metrics import MetricInfo, Takes, built_in
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L1, L2, LINF, Norm
from tests.bounds.language import metric
from tests.kernels.available import CPU

K = 3
IGNORED = 255
NUMBERS = {"beta": "2", "a": "0.3", "b": "0.7"}
NORMS: tuple[Norm, ...] = (L2, L1, LINF)


def spelling(info: MetricInfo) -> str:
    """A metric in the language, its numbers and classes filled in; a set of classes where one may be merged."""
    numbers = f"({', '.join(NUMBERS[a] for a in info.arguments)})" if info.arguments else ""
    classes = "[c0, c2]" if info.name in ("iou", "recall") else "[c1]"
    return f"{info.name}{numbers}{classes if info.classes is Takes.ALWAYS else ''}"


OF_LABELS = [info for info in built_in().values() if not info.scores and info.items not in ("ranked", "components")]
"""Metrics that labels decide, pixel by pixel; ranked scores, ranks and connected parts have tests of their own."""
TEXTS = sorted({spelling(info) for info in OF_LABELS} | {"iou[c1]", "pixel_accuracy in [c0, c1]"})


@dataclass(frozen=True)
class Image:
    """A tiny image: the logits and the label of each of its pixels."""

    rows: tuple[tuple[float, ...], ...]
    labels: tuple[int, ...]

    def moved(self, order: Sequence[int]) -> Image:
        """The same pixels in another order."""
        return Image(tuple(self.rows[i] for i in order), tuple(self.labels[i] for i in order))

    def scaled(self, factor: float) -> Image:
        """All logits times a factor."""
        return Image(tuple(tuple(z * factor for z in row) for row in self.rows), self.labels)

    @property
    def tied(self) -> bool:
        """Whether some pixel has two largest logits."""
        return any(sorted(row)[-1] == sorted(row)[-2] for row in self.rows)


def asked(text: str) -> Metric:
    """Compile a metric over the classes c0, c1, c2."""
    return metric(text, K)


def opened(text: str, images: Sequence[Image], norm: Norm = L2, lipschitz: Fraction = Fraction(1)) -> FamilyBound:
    """Open the bound of a metric on a batch of images of equal size."""
    logits = torch.tensor([[list(row) for row in image.rows] for image in images], dtype=torch.float32)
    labels = torch.tensor([image.labels for image in images])
    seen = Context(CPU, logits.permute(0, 2, 1).unsqueeze(2), labels.unsqueeze(1), IGNORED)
    return open_bound(asked(text), seen, Constant(lipschitz, norm, norm, ConstantStatus.PROVED))


def sense(text: str) -> int:
    """1 where higher is better, -1 where lower is."""
    return -1 if asked(text).lower_is_better else 1


# Quarters: sums and differences of them are exact, ties frequent, and a power of two times them is exact too.
LOGIT = st.one_of(st.integers(-8, 8).map(lambda n: n / 4), st.floats(-3, 3, width=16))
PIXEL = st.tuples(st.tuples(*[LOGIT] * K), st.sampled_from([0, 1, 2, 1, 0, IGNORED]))
EPS = st.fractions(0, 3, max_denominator=16)
NORM = st.sampled_from(NORMS)


def images(size: int | None = None) -> st.SearchStrategy[Image]:
    """Draw images of one to six pixels, or of exactly `size`."""
    least, most = (1, 6) if size is None else (size, size)
    pixels = st.lists(PIXEL, min_size=least, max_size=most)
    return pixels.map(lambda p: Image(tuple(row for row, _ in p), tuple(y for _, y in p)))
