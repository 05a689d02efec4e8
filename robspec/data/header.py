"""What a file says of itself before it is decoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Header:
    """Shape and kind of a stored image or mask.

    Args:
        height: in pixels, as stored.
        width: in pixels, as stored.
        channels: a palette or a mask counts as one.
        kind: PNG or JPEG mode, or the array's dtype.
        orientation: 1 to 8, as EXIF numbers them; 1 for as stored.
        flat: whether it holds one number per pixel: a grey or palette PNG, or an array of one channel.
        palette: whether these are the numbers of colours.
        exact: whether an image can be read without loss: no CMYK, no colours of more than 8 bits.
        lossy: whether what is stored was compressed with loss.
        alpha: whether each pixel has an opacity beside its channels.
    """

    height: int
    width: int
    channels: int
    kind: str
    orientation: int = 1
    flat: bool = True
    palette: bool = False
    exact: bool = True
    lossy: bool = False
    alpha: bool = False

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width as stored."""
        return self.height, self.width

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width once the orientation is applied."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)
