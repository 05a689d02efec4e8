"""GIF, TIFF and WebP, as images and as masks: a test for each of their cells in docs/reference/pixels.md."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robspec.data import errors
from robspec.errors import RobspecError
from tests.data.files import exif, turned
from tests.data.test_pixels import HEIGHT, LABELS, WIDTH, drawn, opened, read, scaled

COLOURS = [(0, 0, 0), (255, 255, 255), (10, 20, 30), (40, 50, 60)]


def saved(array: Any, form: str, **options: Any) -> bytes:
    """What Pillow writes."""
    out = io.BytesIO()
    Image.fromarray(array).save(out, form, **options)
    return out.getvalue()


def lzw(indices: list[int]) -> bytes:
    """Indices of two bits as LZW codes of three, cleared before the codes grow."""
    bits = ""
    for k, index in enumerate(indices):
        bits = format(index, "03b") + (format(4, "03b") if k % 2 == 0 else "") + bits
    bits = format(5, "03b") + bits
    return int(bits, 2).to_bytes(-(-len(bits) // 8), "little")


def gif(
    indices: np.ndarray[Any, Any], *, place: tuple[int, int] = (0, 0), more: int = 0, clear: int | None = None
) -> bytes:
    """A GIF byte by byte: one picture (and `more` of it) at a place of a screen of its size."""
    height, width = indices.shape
    palette = bytes(v for c in COLOURS for v in c)
    data = lzw([int(v) for v in indices.flat])
    blocks = b"".join(bytes([len(data[k : k + 255])]) + data[k : k + 255] for k in range(0, len(data), 255)) + b"\0"
    picture = b"\x2c" + struct.pack("<HHHHB", *place, width, height, 0) + b"\2" + blocks
    control = b"" if clear is None else b"\x21\xf9\x04" + bytes([1, 0, 0, clear]) + b"\0"
    screen = struct.pack("<HHBBB", width, height, 0x81, 0, 0)
    return b"GIF89a" + screen + palette + control + picture * (1 + more) + b";"


class TestGif:
    def test_an_image_has_the_colours_of_its_palette(self, tmp_path: Path) -> None:
        indices = drawn(2)
        batch = read(tmp_path, 3, image=gif(indices))
        assert torch.equal(batch.images[0].permute(1, 2, 0), scaled(np.array(COLOURS)[indices], 8))

    def test_a_mask_has_its_indices(self, tmp_path: Path) -> None:
        batch = read(tmp_path, mask=gif(LABELS % 4), classes=4)
        assert batch.labels is not None
        assert np.array_equal(batch.labels[0], LABELS % 4)

    def test_black_and_white_is_binary(self, tmp_path: Path) -> None:
        """As Carvana's: indices 0 and 1 that show 0 and 255 mean the same either way."""
        mask = (LABELS > 2).astype(np.uint8) * 255
        batch = read(tmp_path, mask=saved(mask, "GIF"), binary=True)
        assert batch.labels is not None
        assert np.array_equal(batch.labels[0], LABELS > 2)

    @pytest.mark.parametrize(
        ("blob", "kind"),
        [
            (gif(LABELS % 4, more=1), errors.UnsupportedFile),
            (gif(LABELS % 4, place=(1, 0)), errors.UnsupportedFile),
            (gif(LABELS % 4, clear=0), errors.UnsupportedFile),
            (gif(LABELS % 4)[:-1], errors.UnreadableFile),
            (gif(LABELS % 4)[:40], errors.UnreadableFile),
            (gif(LABELS % 4)[:10] + b"\0" + gif(LABELS % 4)[11:], errors.UnreadableFile),
            (gif(np.zeros((HEIGHT + 1, WIDTH), int)), errors.ImageShapeMismatch),
        ],
        ids=["two pictures", "beside the screen", "transparent", "no end", "cut", "no palette", "size"],
    )
    def test_refused(self, tmp_path: Path, blob: bytes, kind: type[RobspecError]) -> None:
        with pytest.raises(kind):
            read(tmp_path, 3, image=blob)

    def test_fewer_pixels_than_it_says(self, tmp_path: Path) -> None:
        blob = gif(LABELS % 4)
        short = gif((LABELS % 4)[:-1])
        tall = short[:8] + struct.pack("<H", HEIGHT) + short[10:]
        at = tall.index(b"\x2c")
        tall = tall[: at + 7] + struct.pack("<H", HEIGHT) + tall[at + 9 :]
        assert len(tall) < len(blob)
        with pytest.raises(errors.UnreadableFile):
            read(tmp_path, 3, image=tall)


class TestTiff:
    @pytest.mark.parametrize("packing", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
    @pytest.mark.parametrize("order", ["<u2", ">u2", "u1", "?"])
    def test_grey(self, tmp_path: Path, packing: str | None, order: str) -> None:
        depth = {"<u2": 16, ">u2": 16, "u1": 8, "?": 1}[order]
        samples = drawn(depth)
        blob = saved(samples.astype(order), "TIFF", **({"compression": packing} if packing else {}))
        assert torch.equal(read(tmp_path, image=blob).images[0, 0], scaled(samples, depth))
        weights = read(tmp_path, weights=blob).weights
        assert weights is not None
        assert np.array_equal(weights[0], samples)

    def test_rgb_and_opaque_rgba(self, tmp_path: Path) -> None:
        samples = drawn(8, 4)
        samples[..., 3] = 255
        for blob in (saved(samples[..., :3].astype(np.uint8), "TIFF"), saved(samples.astype(np.uint8), "TIFF")):
            batch = read(tmp_path, 3, image=blob)
            assert torch.equal(batch.images[0].permute(1, 2, 0), scaled(samples[..., :3], 8))
        samples[1, 1, 3] = 254
        with pytest.raises(errors.UnsupportedFile, match="transparent"):
            read(tmp_path, 3, image=saved(samples.astype(np.uint8), "TIFF"))

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("packing", [None, "tiff_lzw"])
    def test_orientation(self, tmp_path: Path, orientation: int, packing: str | None) -> None:
        samples = drawn(8)
        options = {"compression": packing} if packing else {}
        stored = np.ascontiguousarray(turned(samples, orientation)).astype(np.uint8)
        blob = saved(stored, "TIFF", tiffinfo={274: orientation}, **options)
        assert torch.equal(read(tmp_path, image=blob).images[0, 0], scaled(samples, 8))

    def test_a_palette(self, tmp_path: Path) -> None:
        picture = Image.fromarray((LABELS % 4).astype(np.uint8), "L")
        picture.putpalette([v for c in COLOURS for v in c])
        out = io.BytesIO()
        picture.save(out, "TIFF")
        batch = read(tmp_path, 3, image=out.getvalue(), mask=out.getvalue(), classes=4)
        assert torch.equal(batch.images[0].permute(1, 2, 0), scaled(np.array(COLOURS)[LABELS % 4], 8))
        assert batch.labels is not None
        assert np.array_equal(batch.labels[0], LABELS % 4)

    def test_refused(self, tmp_path: Path) -> None:
        grey = drawn(8).astype(np.uint8)
        pages = saved(grey, "TIFF", save_all=True, append_images=[Image.fromarray(grey)])
        inverted = saved(grey, "TIFF", tiffinfo={262: 0})
        assert inverted != saved(grey, "TIFF")
        for blob in (
            pages,
            inverted,
            saved(grey.astype(np.float32), "TIFF"),
            saved(grey, "TIFF", compression="jpeg"),
        ):
            with pytest.raises(errors.UnsupportedFile):
                opened(tmp_path, image=blob)
        whole = saved(grey, "TIFF")
        for cut in (4, 9, 60, len(whole) - 20):
            with pytest.raises(errors.UnreadableFile):
                read(tmp_path, image=whole[:cut])

    def test_a_strip_that_ends_early(self, tmp_path: Path) -> None:
        blob = saved(drawn(8).astype(np.uint8), "TIFF")
        count = struct.pack("<HHII", 279, 4, 1, HEIGHT * WIDTH)
        assert count in blob
        fewer = blob.replace(count, struct.pack("<HHII", 279, 4, 1, HEIGHT * WIDTH - 1))
        with pytest.raises(errors.UnreadableFile, match="fewer rows"):
            read(tmp_path, image=fewer)


class TestWebp:
    def test_without_loss(self, tmp_path: Path) -> None:
        samples = drawn(8, 4)
        samples[..., 3] = 255
        for channels in (3, 4):
            blob = saved(samples[..., :channels].astype(np.uint8), "WEBP", lossless=True)
            batch = read(tmp_path, 3, image=blob)
            assert torch.equal(batch.images[0].permute(1, 2, 0), scaled(samples[..., :3], 8))

    def test_with_loss_as_pillow_decodes_it(self, tmp_path: Path) -> None:
        blob = saved(drawn(8, 3).astype(np.uint8), "WEBP", quality=80)
        expected = np.asarray(Image.open(io.BytesIO(blob))).astype(np.int64)
        assert torch.equal(read(tmp_path, 3, image=blob).images[0].permute(1, 2, 0), scaled(expected, 8))

    def test_orientation(self, tmp_path: Path) -> None:
        samples = drawn(8, 3)
        stored = np.stack([turned(samples[..., k], 6) for k in range(3)], axis=-1).astype(np.uint8)
        blob = saved(stored, "WEBP", lossless=True, exif=exif(6))
        assert torch.equal(read(tmp_path, 3, image=blob).images[0].permute(1, 2, 0), scaled(samples, 8))

    def test_refused(self, tmp_path: Path) -> None:
        samples = drawn(8, 4).astype(np.uint8)
        with pytest.raises(errors.UnsupportedFile, match="transparent"):
            read(tmp_path, 3, image=saved(samples, "WEBP", lossless=True))
        other = Image.fromarray(255 - samples[..., :3])
        moving = saved(samples[..., :3], "WEBP", save_all=True, append_images=[other])
        with pytest.raises(errors.UnsupportedFile, match="animated"):
            opened(tmp_path, 3, image=moving)
        whole = saved(samples[..., :3], "WEBP", lossless=True)
        for cut in (11, 20, len(whole) - 9):
            with pytest.raises(errors.UnreadableFile):
                read(tmp_path, 3, image=whole[:cut])
        with pytest.raises(errors.UnsupportedFile, match="one exact number"):
            opened(tmp_path, 3, image=whole, mask=whole)


def test_an_enormous_header_is_not_decoded(tmp_path: Path) -> None:
    small = saved(np.zeros((1, 1, 3), np.uint8), "WEBP", lossless=True)
    at = small.index(b"\x2f", 20) + 1
    bits = int.from_bytes(small[at : at + 4], "little") | 0xFFFFFFF
    blobs = [
        small[:at] + bits.to_bytes(4, "little") + small[at + 4 :],
        gif(np.zeros((1, 1), int)).replace(struct.pack("<HH", 1, 1), struct.pack("<HH", 65535, 65535)),
    ]
    tiff = saved(np.zeros((1, 1), np.uint8), "TIFF", compression="tiff_lzw")
    for tag in (256, 257, 278):
        entry = next(e for e in (struct.pack("<HHII", tag, k, 1, 1) for k in (3, 4)) if e in tiff)
        tiff = tiff.replace(entry, struct.pack("<HHII", tag, 4, 1, 60000))
    for blob in (*blobs, tiff):
        with pytest.raises(errors.FileTooLarge):
            opened(tmp_path, 3, image=blob)
