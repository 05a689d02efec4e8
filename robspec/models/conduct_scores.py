"""What scores of locations must not look like, held against what they are on the images of a check."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robspec.arrays import Array
from robspec.ir.types import Detector
from robspec.models.conduct import Conduct, Watched
from robspec.models.errors import ScoresAreProbabilities


class DetectorConduct:
    """Watches scores and boxes of a check, batch by batch; as `Conduct`.

    Args:
        model: the loaded model, of scores.
        detector: what is compared with the threshold.
        boxes: its second output, or None.
    """

    def __init__(self, model: Watched, detector: Detector, boxes: Watched | None) -> None:
        self._model, self._detector, self._second = model, detector, boxes
        self._scores = Conduct(model, scores=True)
        self._boxes = None if boxes is None else Conduct(boxes, scores=True)
        self._low, self._high = math.inf, -math.inf

    def meet(self, names: Sequence[str], images: Array, logits: Array) -> None:
        """Look at one batch: neither scores nor boxes may depend on company.

        Raises:
            LogitsDependOnCompany: E0218.
        """
        self._scores.meet(names, images, logits)
        if self._boxes is not None and self._second is not None:
            self._boxes.meet(names, images, self._second.logits(images))
            self._boxes = None  # the first batch tells
        if len(logits):
            self.hear(0, logits.shape[1], float(logits.min()), float(logits.max()))

    def hear(self, _images: int, _channels: int, low: float, high: float) -> None:
        """Be told of a batch after the first, whose scores are elsewhere.

        Args:
            low: the smallest score.
            high: the largest.
        """
        self._low, self._high = min(self._low, low), max(self._high, high)

    def finish(self) -> None:
        """Look back once all images are done.

        Raises:
            ScoresAreProbabilities: E0226, a sigmoid is to be taken of scores that are all from 0 to 1.
        """
        if self._detector.of == "sigmoid" and self._low >= 0.0 and self._high <= 1.0:
            raise ScoresAreProbabilities(
                str(self._model.path),
                f"all scores lie between {self._low:g} and {self._high:g}, and `threshold sigmoid` takes a sigmoid "
                "of them",
                "let the model return logits, or end with one sigmoid as its very last operation; or write "
                "`threshold score` to compare what it returns",
            )
