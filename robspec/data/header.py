"""What a file says of itself before it is decoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Header:
    """Shape and kind of a stored image or mask.

    Args:
        height: in pixels.
        width: in pixels.
        channels: a palette or a mask counts as one.
        kind: PNG or JPEG mode, or the array's dtype.
    """

    height: int
    width: int
    channels: int
    kind: str
