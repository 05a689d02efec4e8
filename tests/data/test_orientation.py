"""EXIF orientation: applied and said, or refused where image and mask disagree."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robspec.data import errors
from robspec.data.dataset import open_dataset
from tests.data.files import Array, chunk, exif, jpeg, png, segment, turned, xmp
from tests.data.test_pixels import opened, read, scaled

HEIGHT, WIDTH = 16, 24
BLOCKS = np.arange(2 * 3).reshape(2, 3, 1) * 40 + 3
UPRIGHT = BLOCKS[:, :, 0].repeat(8, 0).repeat(8, 1)
LABELS = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) // 5) % 2


def raw_profile(orientation: int) -> bytes:
    """EXIF as older programs put it into a text of a PNG."""
    body = b"Exif\0\0" + exif(orientation)
    return b"\nexif\n%8d\n" % len(body) + body.hex().encode() + b"\n"


def photo(orientation: int, order: str = "<", before: bytes = b"") -> bytes:
    """A JPEG as a camera writes it."""
    stored = turned(BLOCKS, orientation)
    return jpeg(stored, segment(0xE1, b"Exif\0\0" + exif(orientation, order)) + before)


def with_exif(samples: Array, orientation: int) -> bytes:
    """A PNG of samples stored as the orientation says."""
    return png(turned(samples, orientation), before=chunk(b"eXIf", exif(orientation)))


WRITERS: dict[str, Callable[[int], bytes]] = {
    "jpeg, little-endian": photo,
    "jpeg, big-endian": lambda k: photo(k, ">"),
    "jpeg, xmp that agrees": lambda k: photo(k, before=segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(k))),
    "png": lambda k: with_exif(UPRIGHT, k),
    "png, after the pixels": lambda k: png(turned(UPRIGHT, k), after=chunk(b"eXIf", exif(k, ">"))),
    "png, text": lambda k: png(
        turned(UPRIGHT, k), before=chunk(b"tEXt", b"Raw profile type exif\0" + raw_profile(k))
    ),
    "png, packed text": lambda k: png(
        turned(UPRIGHT, k), after=chunk(b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(raw_profile(k)))
    ),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("writer", WRITERS)
def test_an_image_is_turned_upright_and_said_to_be(tmp_path: Path, writer: str, orientation: int) -> None:
    blob = WRITERS[writer](orientation)
    found = opened(tmp_path, 1, HEIGHT, WIDTH, image=blob, mask=png(LABELS))
    (batch,) = found.batches(1)
    assert np.array_equal(batch.images[0, 0].numpy(), scaled(UPRIGHT, 8).numpy())
    assert batch.labels is not None
    assert np.array_equal(batch.labels[0].numpy(), LABELS)
    said = [(n.code, n.figures["images"], n.figures["orientations"]) for n in found.remarks]
    assert said == ([] if orientation == 1 else [("orientation-applied", ("image_/a.png",), (str(orientation),))])
    assert orientation == 1 or "upright image" in found.remarks[0].text


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_mask_with_the_same_orientation_is_turned_too(tmp_path: Path, orientation: int) -> None:
    files = {k: with_exif(LABELS, orientation) for k in ("mask", "region", "weights")}
    batch = read(tmp_path, 1, HEIGHT, WIDTH, image=photo(orientation), **files)
    for found in (batch.labels, batch.region, batch.weights):
        assert found is not None
        assert np.array_equal(found[0].numpy(), LABELS)


@pytest.mark.parametrize("kind", ["mask", "region", "weights"])
@pytest.mark.parametrize(("image", "other"), [(1, 3), (3, 2), (6, 3), (3, 6), (6, 8), (1, 6)])
def test_different_orientations_are_refused(tmp_path: Path, kind: str, image: int, other: int) -> None:
    with pytest.raises(errors.OrientationUnclear, match=f"orientation {other} and .* has {image}"):
        opened(tmp_path, 1, HEIGHT, WIDTH, image=photo(image), **{kind: with_exif(LABELS, other)})


@pytest.mark.parametrize("kind", ["mask", "region", "weights"])
def test_an_array_has_no_orientation(tmp_path: Path, kind: str) -> None:
    found = opened(tmp_path, 1, HEIGHT, WIDTH, image=png(UPRIGHT), **{kind: with_exif(LABELS, 1)})
    assert found.remarks == ()
    path = tmp_path / "image_" / "a.png"
    np.save(path.with_suffix(".npy"), UPRIGHT.astype(np.uint8))
    path.unlink()
    (tmp_path / f"{kind}_" / "a.png").write_bytes(with_exif(LABELS, 3))
    with pytest.raises(errors.OrientationUnclear, match="has 1"):
        open_dataset(found.data, found.model, tmp_path)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_with_the_sides_of_the_stored_image(tmp_path: Path, orientation: int) -> None:
    for kind in ("mask", "region", "weights"):
        with pytest.raises(errors.OrientationUnclear, match="as stored"):
            opened(tmp_path, 1, HEIGHT, WIDTH, image=photo(orientation), **{kind: png(LABELS.T)})


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_an_input_declared_with_the_sides_of_the_stored_image(tmp_path: Path, orientation: int) -> None:
    with pytest.raises(errors.OrientationUnclear, match="only as stored"):
        opened(tmp_path, 1, WIDTH, HEIGHT, image=photo(orientation))
    with pytest.raises(errors.ImageShapeMismatch, match="turned by EXIF"):
        opened(tmp_path, 1, WIDTH + 8, HEIGHT, image=photo(orientation))


def block(kind: int = 3, count: int = 1, value: int = 3, extra: int = 0) -> bytes:
    """A TIFF structure of one tag, the orientation."""
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1 + extra, 274, kind, count, value, 0, 0)


@pytest.mark.parametrize(
    "segments",
    [
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(3)),
        segment(0xE1, b"Exif\0\0" + exif(1)) + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(6)),
        segment(0xE1, b"Exif\0\0" + exif(3)) + segment(0xE1, b"Exif\0\0" + exif(6)),
        segment(0xE1, b"Exif\0\0" + b"no TIFF at all"),
        segment(0xE1, b"Exif\0\0" + exif(3)[:14]),
        segment(0xE1, b"Exif\0\0II*\0\xff\xff\0\0"),
        segment(0xE1, b"Exif\0\0" + block(kind=2)),
        segment(0xE1, b"Exif\0\0" + block(count=2)),
    ],
    ids=["xmp alone", "xmp against exif", "two exif", "no tiff", "cut", "beyond", "text", "two values"],
)
def test_what_programs_read_differently_is_refused(tmp_path: Path, segments: bytes) -> None:
    with pytest.raises(errors.OrientationUnclear):
        opened(tmp_path, 1, HEIGHT, WIDTH, image=jpeg(BLOCKS, segments))


@pytest.mark.parametrize(
    "segments",
    [
        b"",
        segment(0xE1, b"Exif\0\0"),
        segment(0xE1, b"Exif\0\0" + exif(0)),
        segment(0xE1, b"Exif\0\0" + exif(9)),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(1)),
        segment(0xE1, b"Exif\0\0" + exif(1)) * 2,
    ],
    ids=["none", "empty", "0", "9", "xmp 1", "twice the same"],
)
def test_what_says_nothing_leaves_the_image_as_it_is(tmp_path: Path, segments: bytes) -> None:
    found = opened(tmp_path, 1, HEIGHT, WIDTH, image=jpeg(BLOCKS, segments))
    (batch,) = found.batches(1)
    assert found.remarks == ()
    assert np.array_equal(batch.images[0, 0].numpy(), scaled(UPRIGHT, 8).numpy())


class TestLongMetadata:
    def test_jpeg(self, tmp_path: Path) -> None:
        """Extended XMP, depth maps and makers' notes of phones: megabytes before the frame header."""
        extended = segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"x" * 65_000)
        other = segment(0xE2, b"MPF\0" + b"y" * 65_000) + segment(0xFE, b"z" * 65_000)
        for before in (extended * 40, other * 20, b"\xff" * 70_000):
            blob = photo(6, before=before)
            batch = read(tmp_path, 1, HEIGHT, WIDTH, image=blob)
            assert np.array_equal(batch.images[0, 0].numpy(), scaled(UPRIGHT, 8).numpy())

    def test_exif_of_several_segments(self, tmp_path: Path) -> None:
        long = exif(8) + b"\0" * 100_000
        parts = [segment(0xE1, b"Exif\0\0" + long[at : at + 65_000]) for at in range(0, len(long), 65_000)]
        blob = jpeg(turned(BLOCKS, 8), b"".join(parts))
        batch = read(tmp_path, 1, HEIGHT, WIDTH, image=blob)
        assert np.array_equal(batch.images[0, 0].numpy(), scaled(UPRIGHT, 8).numpy())

    @pytest.mark.parametrize("kind", ["image", "mask", "region", "weights"])
    def test_png(self, tmp_path: Path, kind: str) -> None:
        long = chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000)
        packed = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 80_000_000))
        for options in ({"before": long}, {"before": packed}, {"before": packed, "after": long}):
            read(tmp_path, 1, HEIGHT, WIDTH, **{kind: png(LABELS, **options)})
