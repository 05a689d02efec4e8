"""The second net behind the proof: what a loaded model does on the images of a check is held against what it must."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from robspec import arrays
from robspec.arrays import Array
from robspec.models.errors import LogitsDependOnCompany, ModelInterface, NeverBelowZero
from robspec.notes import Note

_ALLOWED = {"float32": 2.0**-12, "float64": 2.0**-36}
"""How far an image's logits may move with its company by rounding alone, relative to the largest of them. Batches of
other sizes are summed in another order; what moves further in float32 is judged again in float64."""

_AT_MOST = 2.0**-5
"""Further than this is no rounding, whatever float64 says."""


class Watched(Protocol):
    """What is watched, a loaded model."""

    @property
    def path(self) -> object:
        """The file."""
        ...

    @property
    def peeled(self) -> tuple[str, ...]:
        """Last operations that were taken off."""
        ...

    def logits(self, images: Array) -> Array:
        """Compute logits, [B, C, H, W] to [B, K, H, W]."""
        ...

    def in_double(self) -> Watched:
        """The same, run in float64."""
        ...


class Conduct:
    """Watches the logits of a check, batch by batch.

    Args:
        model: the loaded model.
        scores: whether its output is a score, which may have one sign.
        answer: gives the model's logits of images, [B, C, H, W] to [B, K, H, W], or what is remembered of them; the
            model itself if None.
    """

    def __init__(
        self, model: Watched, *, scores: bool = False, answer: Callable[[Array], Array] | None = None
    ) -> None:
        self._model = model
        self._answer = answer or model.logits
        self._scores = scores
        self._met = 0
        self._lowest = math.inf
        self._under = f" under the last {' and '.join(model.peeled)}, which is taken off" if model.peeled else ""

    def meet(self, names: Sequence[str], images: Array, logits: Array) -> None:
        """Look at one batch; the last image of the first batch is run again alone.

        Args:
            names: of the images.
            images: [B, C, H, W] as given to the model.
            logits: [B, K, H, W], what it made of them.

        Raises:
            LogitsDependOnCompany: E0218, the image's logits alone and in company differ by more than rounding.
        """
        if len(names) and not self._met:
            _check_company(self._model, self._answer, names[-1], images, logits)
        low = float(logits.min()) if logits.shape[1] == 1 and len(logits) else math.inf
        self.hear(len(names), logits.shape[1], low, math.inf)

    def hear(self, images: int, channels: int, low: float, _high: float) -> None:
        """Be told of a batch after the first, whose logits are elsewhere.

        Args:
            images: how many.
            channels: of their logits.
            low: the smallest logit.
        """
        self._met += images
        if channels == 1 and not self._scores:
            self._lowest = min(self._lowest, low)

    def finish(self) -> None:
        """Look back once all images are done.

        Raises:
            NeverBelowZero: E0219, a single output channel is nowhere below 0.
        """
        if self._met and 0.0 <= self._lowest < math.inf:
            raise NeverBelowZero(
                str(self._model.path),
                f"its single output is never below 0 on {self._met} image{'' if self._met == 1 else 's'}, the least "
                f"value being {self._lowest:g}{self._under}: read as a logit it calls everything the second class",
                "return the logit itself, whose sign decides, and not a probability or a distance; or two channels, "
                "one per class, where everything is meant to be of the second class",
            )


def peeled_notes(model: Watched) -> tuple[Note, ...]:
    """Say which last operations were taken off a model, if any."""
    if not model.peeled:
        return ()
    names = " and ".join(model.peeled)
    text = (
        f"its last {names} is taken off, as probabilities are no logits: the decision is the same, the proof is "
        "about what lies under it"
    )
    return (Note("head-taken-off", f"model {model.path}", text, {"operations": model.peeled}),)


def refuse_statements_about_the_file(model: Watched, *, claims: bool, assumes: bool) -> None:
    """Refuse a constant that somebody states for a file whose last operation was taken off.

    What is proved speaks of the logits under a last sigmoid or softmax; a constant of the file's own output is
    another number, and may be far smaller.

    Args:
        model: the loaded model.
        claims: whether the specification claims a constant.
        assumes: whether one is assumed.

    Raises:
        ModelInterface: E0209.
    """
    if not model.peeled or not (claims or assumes):
        return
    given = "a constant is assumed" if assumes else "the specification claims a constant"
    raise ModelInterface(
        str(model.path),
        f"{given}, and the model's last {' and '.join(model.peeled)} is taken off: a constant of what the file "
        "returns is none of the logits under it",
        "export the model so that it returns its logits, and state their constant; or leave the constant out",
    )


def _check_company(model: Watched, answer: Callable[[Array], Array], name: str, images: Array, logits: Array) -> None:
    """Compare an image alone with the same image among others; a lone one is given mirrored company."""
    image = arrays.host(images[-1:])
    company = arrays.host(images) if len(images) > 1 else _mirrored(image)
    if len(images) == 1:
        logits = answer(company)
    alone, among = answer(image)[0], logits[-1]
    if _agree(alone, among):
        return
    if arrays.kind(alone) != "float64" and _agree(alone, among, allowed=_AT_MOST):
        exact = model.in_double()
        if _agree(exact.logits(image)[0], exact.logits(company)[-1]):
            return
    raise LogitsDependOnCompany(
        name,
        f"the model {model.path} gives other logits for this image alone than among others, by more than rounding",
        "let nothing in the model depend on the other images of a batch, their number, or the place among them",
    )


def _mirrored(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate([image[..., ::-1], image[..., ::-1, :], image])


def _agree(alone: Array, among: Array, *, allowed: float | None = None) -> bool:
    """Whether two maps of logits differ by no more than rounding; what is not finite is refused elsewhere."""
    share = _ALLOWED.get(arrays.kind(alone), 2.0**-12) if allowed is None else allowed
    one, other = arrays.doubles(alone), arrays.doubles(among)
    largest = float(np.maximum(np.abs(one), np.abs(other)).max())
    if not math.isfinite(largest):
        return True
    return float(np.abs(one - other).max()) <= share * largest
