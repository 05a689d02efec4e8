"""Advice on labels fits the mask at hand, and never ends in a mask of which nothing is left."""

from __future__ import annotations

import numpy as np
import pytest

from robspec.data.errors import LabelOutOfRange
from robspec.data.labels import to_classes


def advice(*labels: int, binary: bool = False) -> str:
    stored = np.array([labels], dtype=np.uint8)
    with pytest.raises(LabelOutOfRange) as caught:
        to_classes(stored, 2, None, binary, "mask")
    return caught.value.mend


def test_black_and_white_is_binary() -> None:
    """To ignore 255 here would leave the background alone."""
    assert advice(0, 255).startswith("declare the masks binary")
    assert "leave out every pixel that is marked" in advice(0, 255)


@pytest.mark.parametrize("white", [3, 15])
@pytest.mark.parametrize("binary", [False, True])
def test_white_of_fewer_bits_is_named(white: int, binary: bool) -> None:
    found = advice(0, white, binary=binary)
    assert found.startswith(f"{white} is the white of a mask of fewer bits")
    assert "save it with 0 and 1" in found


def test_other_labels_are_declared_or_ignored() -> None:
    assert "declare the class" in advice(0, 1, 7)
    assert "declare the class" in advice(0, 1, 15)
