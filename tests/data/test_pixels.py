"""Pixels are what the file stores: a test for each cell of the table in docs/reference/pixels.md."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from robspec.data import errors
from robspec.data.dataset import Batch, Dataset, open_dataset
from robspec.ir.types import Data, Model
from tests.data.files import GREY_ALPHA, PALETTE, RGB, RGBA, Array, chunk, jpeg, png, segment

HEIGHT, WIDTH = 5, 11
LABELS = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 7) % 5
RED_GREEN = [(255, 0, 0), (0, 255, 0)]


def drawn(depth: int, *channels: int) -> Array:
    """Samples of so many bits, the least and the largest among them."""
    found = np.random.default_rng(depth).integers(0, 2**depth, (HEIGHT, WIDTH, *channels))
    found[0, :2] = np.array([0, 2**depth - 1]).reshape(2, *(1 for _ in channels))
    return found


def opened(folder: Path, channels: int = 1, height: int = HEIGHT, width: int = WIDTH, **files: object) -> Dataset:
    """A data set of one image; `files` are the bytes of image.png, mask.png, region.png and weights.png."""
    options = {k: files.pop(k) for k in ("ignore", "binary", "classes") if k in files}
    files = {"image": png(np.zeros((height, width), int)), **files}
    for name, blob in files.items():
        assert isinstance(blob, bytes)
        (folder / f"{name}_").mkdir(exist_ok=True)
        (folder / f"{name}_" / "a.png").write_bytes(blob)
    globs = {
        k: f"{n}_/a.*" for k, n in (("masks", "mask"), ("region", "region"), ("weights", "weights")) if n in files
    }
    names = tuple(f"c{k}" for k in range(int(options.pop("classes", 2))))  # type: ignore[call-overload]
    described = Model((channels, height, width), Fraction(0), Fraction(1), (len(names), height, width), names)
    return open_dataset(Data("d", "image_/a.*", **globs, **options), described, folder)  # type: ignore[arg-type]


def read(folder: Path, channels: int = 1, height: int = HEIGHT, width: int = WIDTH, **files: object) -> Batch:
    """Its only batch."""
    (batch,) = opened(folder, channels, height, width, **files).batches(1)
    return batch


def scaled(samples: Array, depth: int) -> torch.Tensor:
    """u / most, rounded once."""
    exact = [np.float32(float(Fraction(int(u), 2**depth - 1))) for u in samples.flatten()]
    return torch.from_numpy(np.array(exact, np.float32).reshape(samples.shape))


INTERLACED = pytest.mark.parametrize("interlaced", [False, True])


class TestImages:
    @INTERLACED
    @pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
    def test_grey(self, tmp_path: Path, depth: int, interlaced: bool) -> None:
        samples = drawn(depth)
        batch = read(tmp_path, image=png(samples, depth, interlaced=interlaced))
        assert torch.equal(batch.images[0, 0], scaled(samples, depth))

    @INTERLACED
    def test_rgb(self, tmp_path: Path, interlaced: bool) -> None:
        samples = drawn(8, 3)
        batch = read(tmp_path, 3, image=png(samples, 8, RGB, interlaced=interlaced))
        assert torch.equal(batch.images[0].permute(1, 2, 0), scaled(samples, 8))

    @INTERLACED
    @pytest.mark.parametrize("depth", [1, 2, 4, 8])
    def test_palette(self, tmp_path: Path, depth: int, interlaced: bool) -> None:
        indices = drawn(depth)
        palette = np.random.default_rng(9).integers(0, 256, (2**depth, 3))
        blob = png(indices, depth, PALETTE, palette=palette.tolist(), interlaced=interlaced)
        batch = read(tmp_path, 3, image=blob)
        assert torch.equal(batch.images[0].permute(1, 2, 0), scaled(palette[indices], 8))

    @pytest.mark.parametrize("depth", [1, 2, 4, 8])
    def test_a_grey_palette_is_grey_in_whatever_order(self, tmp_path: Path, depth: int) -> None:
        indices = drawn(depth)
        levels = np.random.default_rng(9).permutation(2**depth)
        blob = png(indices, depth, PALETTE, palette=[(k, k, k) for k in levels.tolist()])
        assert torch.equal(read(tmp_path, 1, image=blob).images[0, 0], scaled(levels[indices], 8))
        assert torch.equal(read(tmp_path, 3, image=blob).images[0, 2], scaled(levels[indices], 8))

    def test_a_coloured_palette_is_no_single_channel(self, tmp_path: Path) -> None:
        with pytest.raises(errors.UnsupportedFile, match="1 channels"):
            read(tmp_path, 1, image=png(drawn(1), 1, PALETTE, palette=RED_GREEN))

    def test_an_index_beyond_the_palette(self, tmp_path: Path) -> None:
        with pytest.raises(errors.UnreadableFile, match="index 3"):
            read(tmp_path, 3, image=png(drawn(2), 2, PALETTE, palette=RED_GREEN))
        with pytest.raises(errors.UnreadableFile, match="palette"):
            read(tmp_path, 3, image=png(drawn(2), 2, PALETTE))

    @pytest.mark.parametrize(("colour", "channels"), [(GREY_ALPHA, 2), (RGBA, 4)])
    @pytest.mark.parametrize("depth", [8, 16])
    def test_alpha(self, tmp_path: Path, colour: int, channels: int, depth: int) -> None:
        """Opacity is no channel; where it is full everywhere, an image of 8 bits is read without it."""
        blob = png(drawn(depth, channels), depth, colour)
        with pytest.raises(errors.UnsupportedFile):
            opened(tmp_path, channels, image=blob)
        with pytest.raises(errors.UnsupportedFile, match="transparent" if depth == 8 else "no exact reading"):
            read(tmp_path, channels - 1, image=blob)
        if depth == 8:
            opaque = drawn(8, channels)
            opaque[..., -1] = 255
            batch = read(tmp_path, channels - 1, image=png(opaque, 8, colour))
            assert torch.equal(batch.images[0].permute(1, 2, 0), scaled(opaque[..., :-1], 8))

    def test_sixteen_bits_of_colour(self, tmp_path: Path) -> None:
        with pytest.raises(errors.UnsupportedFile, match="16 bits"):
            opened(tmp_path, 3, image=png(drawn(16, 3), 16, RGB))

    def test_a_palette_with_transparent_entries(self, tmp_path: Path) -> None:
        indices = np.zeros((HEIGHT, WIDTH), int)
        blobs = [
            png(indices, 1, PALETTE, palette=RED_GREEN, before=chunk(b"tRNS", bytes(opacity)))
            for opacity in ([255], [255, 7], [254])
        ]
        for blob in blobs[:2]:
            assert read(tmp_path, 3, image=blob).images[0, :, 0, 0].tolist() == [1, 0, 0]
        with pytest.raises(errors.UnsupportedFile, match="transparent"):
            read(tmp_path, 3, image=blobs[2])

    @pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
    def test_a_grey_that_is_transparent(self, tmp_path: Path, depth: int) -> None:
        samples = np.full((HEIGHT, WIDTH), 2**depth - 1)
        absent = png(samples, depth, before=chunk(b"tRNS", struct.pack(">H", 0)))
        assert bool((read(tmp_path, image=absent).images == 1).all())
        samples[2, 3] = 0
        with pytest.raises(errors.UnsupportedFile, match="transparent"):
            read(tmp_path, image=png(samples, depth, before=chunk(b"tRNS", struct.pack(">H", 0))))

    def test_a_colour_that_is_transparent(self, tmp_path: Path) -> None:
        samples = drawn(8, 3)
        samples[1, 1] = (7, 8, 9)
        with pytest.raises(errors.UnsupportedFile, match="transparent"):
            read(tmp_path, 3, image=png(samples, 8, RGB, before=chunk(b"tRNS", struct.pack(">HHH", 7, 8, 9))))
        samples[1, 1] = (7, 8, 8)
        read(tmp_path, 3, image=png(samples, 8, RGB, before=chunk(b"tRNS", struct.pack(">HHH", 7, 8, 9))))

    def test_jpeg(self, tmp_path: Path) -> None:
        for channels in (1, 3):
            blocks = np.random.default_rng(channels).integers(0, 256, (2, 3, channels))
            batch = read(tmp_path, channels, 16, 24, image=jpeg(blocks))
            expected = scaled(blocks.repeat(8, 0).repeat(8, 1), 8)
            assert torch.equal(batch.images[0].permute(1, 2, 0), expected)

    def test_a_jpeg_of_several_pictures_is_its_first(self, tmp_path: Path) -> None:
        """As phones write them; the index of the pictures is metadata."""
        blob = jpeg(np.full((2, 3, 1), 9), segment(0xE2, b"MPF\0" + bytes(40))) + jpeg(np.full((2, 3, 1), 200))
        assert bool((read(tmp_path, 1, 16, 24, image=blob).images == np.float32(9 / 255)).all())

    def test_cmyk(self, tmp_path: Path) -> None:
        blob = jpeg(np.full((2, 3, 4), 7))
        with pytest.raises(errors.UnsupportedFile, match="CMYK"):
            opened(tmp_path, 4, 16, 24, image=blob)
        with pytest.raises(errors.ImageShapeMismatch, match="CMYK"):
            opened(tmp_path, 3, 16, 24, image=blob)

    def test_twelve_bits_of_a_jpeg(self, tmp_path: Path) -> None:
        blob = jpeg(np.full((2, 3, 1), 7)).replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x0c")
        with pytest.raises(errors.UnsupportedFile, match="12 bits"):
            opened(tmp_path, 1, 16, 24, image=blob)


CONTROL = chunk(b"acTL", struct.pack(">II", 2, 0))
FRAME = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, WIDTH, HEIGHT, 0, 0, 1, 1, 0, 0))


class TestFrames:
    @pytest.mark.parametrize("kind", ["image", "mask", "region", "weights"])
    def test_animated_png(self, tmp_path: Path, kind: str) -> None:
        second = chunk(b"fdAT", struct.pack(">I", 1) + zlib.compress(bytes(HEIGHT * (WIDTH + 1))))
        blob = png(drawn(1), before=CONTROL + FRAME, after=FRAME + second)
        with pytest.raises(errors.UnsupportedFile, match="animated"):
            opened(tmp_path, **{kind: blob})

    @pytest.mark.parametrize(
        ("front", "name"),
        [
            (b"GIF89a", "GIF"),
            (b"II*\0\x08\0\0\0", "TIFF"),
            (b"MM\0*\0\0\0\x08", "TIFF"),
            (b"BM", "BMP"),
            (b"RIFF\x24\0\0\0WEBPVP8L", "WebP"),
            (b"\0\0\0\x1cftypavif", "AVIF"),
        ],
    )
    @pytest.mark.parametrize("kind", ["image", "mask", "region", "weights"])
    def test_other_formats_are_named_whatever_the_file_is_called(
        self, tmp_path: Path, kind: str, front: bytes, name: str
    ) -> None:
        with pytest.raises(errors.UnreadableFile, match=name):
            opened(tmp_path, **{kind: front + bytes(100)})


class TestPlanes:
    """Masks, region files and weight files."""

    @INTERLACED
    @pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
    def test_grey(self, tmp_path: Path, depth: int, interlaced: bool) -> None:
        samples = drawn(depth)
        blob = png(samples, depth, interlaced=interlaced)
        batch = read(tmp_path, mask=png(samples % 2, depth), region=blob, weights=blob)
        assert batch.labels is not None
        assert batch.region is not None
        assert batch.weights is not None
        assert np.array_equal(batch.labels[0].numpy(), samples % 2)
        assert np.array_equal(batch.region[0].numpy(), samples != 0)
        assert np.array_equal(batch.weights[0].numpy(), samples)
        labels = read(tmp_path, mask=blob, classes=min(2**depth, 65536)).labels
        assert labels is not None
        assert np.array_equal(labels[0].numpy(), samples)

    @INTERLACED
    @pytest.mark.parametrize("depth", [1, 2, 4, 8])
    def test_palette_indices(self, tmp_path: Path, depth: int, interlaced: bool) -> None:
        indices = drawn(depth)
        palette = [(k, 255 - k, 7) for k in range(2**depth)]
        blob = png(indices, depth, PALETTE, palette=palette, interlaced=interlaced)
        batch = read(tmp_path, mask=blob, region=blob, weights=blob, classes=2**depth)
        for found in (batch.labels, batch.weights):
            assert found is not None
            assert np.array_equal(found[0].numpy(), indices)
        assert batch.region is not None
        assert np.array_equal(batch.region[0].numpy(), indices != 0)

    def test_transparency_changes_no_number(self, tmp_path: Path) -> None:
        indices = drawn(1)
        blob = png(indices, 1, PALETTE, palette=RED_GREEN, before=chunk(b"tRNS", b"\0"))
        labels = read(tmp_path, mask=blob).labels
        assert labels is not None
        assert np.array_equal(labels[0].numpy(), indices)

    def test_greys_in_order_are_the_indices(self, tmp_path: Path) -> None:
        blob = png(LABELS, 4, PALETTE, palette=[(k, k, k) for k in range(16)])
        batch = read(tmp_path, mask=blob, weights=blob, classes=5)
        assert batch.labels is not None
        assert np.array_equal(batch.labels[0].numpy(), LABELS)

    @pytest.mark.parametrize("kind", ["mask", "weights", "region"])
    def test_greys_in_another_order(self, tmp_path: Path, kind: str) -> None:
        palette = [(k, k, k) for k in (2, 0, 1, 4, 3)]
        with pytest.raises(errors.AmbiguousPalette, match="grey"):
            read(tmp_path, **{kind: png(LABELS, 4, PALETTE, palette=palette)}, classes=5)

    def test_greys_that_are_no_labels_leave_the_indices(self, tmp_path: Path) -> None:
        """As tools write that show two classes in black and white."""
        indices = drawn(1)
        for palette in ([(0,) * 3, (255,) * 3], [(255,) * 3, (0,) * 3]):
            labels = read(tmp_path, mask=png(indices, 1, PALETTE, palette=palette)).labels
            assert labels is not None
            assert np.array_equal(labels[0].numpy(), indices)

    @pytest.mark.parametrize(("white", "options"), [(0, {"binary": True}), (1, {"ignore": 255})])
    def test_greys_that_are_labels_of_another_meaning(
        self, tmp_path: Path, white: int, options: dict[str, object]
    ) -> None:
        palette = [(255 * (k == white),) * 3 for k in range(2)]
        with pytest.raises(errors.AmbiguousPalette):
            read(tmp_path, mask=png(drawn(1), 1, PALETTE, palette=palette), **options)

    def test_binary_greys_that_mean_the_same(self, tmp_path: Path) -> None:
        indices = drawn(1)
        blob = png(indices, 1, PALETTE, palette=[(0,) * 3, (255,) * 3])
        batch = read(tmp_path, mask=blob, region=blob, binary=True)
        assert batch.labels is not None
        assert np.array_equal(batch.labels[0].numpy(), indices)
        assert batch.region is not None
        assert np.array_equal(batch.region[0].numpy(), indices == 1)

    @pytest.mark.parametrize("kind", ["mask", "region", "weights"])
    @pytest.mark.parametrize(
        "blob",
        [
            png(drawn(8, 3), 8, RGB),
            png(drawn(8, 2), 8, GREY_ALPHA),
            png(drawn(8, 4), 8, RGBA),
            png(drawn(16, 3), 16, RGB),
            png(drawn(16, 2), 16, GREY_ALPHA),
        ],
        ids=["RGB", "LA", "RGBA", "RGB 16", "LA 16"],
    )
    def test_several_samples_a_pixel(self, tmp_path: Path, kind: str, blob: bytes) -> None:
        with pytest.raises(errors.UnsupportedFile, match="one exact number per pixel"):
            opened(tmp_path, **{kind: blob})

    @pytest.mark.parametrize("kind", ["mask", "region", "weights"])
    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_jpeg(self, tmp_path: Path, kind: str, channels: int) -> None:
        files = {"image": png(np.zeros((16, 24), int)), kind: jpeg(np.zeros((2, 3, channels), int))}
        with pytest.raises(errors.UnsupportedFile, match="one exact number per pixel"):
            opened(tmp_path, 1, 16, 24, **files)

    @pytest.mark.parametrize("kind", ["mask", "region", "weights"])
    @pytest.mark.parametrize("suffix", ["npy", "npz"])
    def test_arrays(self, tmp_path: Path, kind: str, suffix: str) -> None:
        opened(tmp_path, **{kind: png(LABELS % 2)})
        path = tmp_path / f"{kind}_" / "a.png"
        path.unlink()
        path = path.with_suffix(f".{suffix}")
        save = np.save if suffix == "npy" else np.savez
        files = {kind: None}
        described = Model((1, HEIGHT, WIDTH), Fraction(0), Fraction(1), (2, HEIGHT, WIDTH), ("a", "b"))
        glob = {{"mask": "masks"}.get(kind, kind): f"{kind}_/a.*" for kind in files}
        data = Data("d", "image_/a.png", **glob)  # type: ignore[arg-type]
        for shape in ((HEIGHT, WIDTH), (1, HEIGHT, WIDTH), (HEIGHT, WIDTH, 1)):
            save(path, (LABELS % 2).astype(np.uint8).reshape(shape))
            (batch,) = open_dataset(data, described, tmp_path).batches(1)
            found = {"mask": batch.labels, "region": batch.region, "weights": batch.weights}[kind]
            assert found is not None
            assert np.array_equal(found[0].numpy(), LABELS % 2)
        for shape in ((3, HEIGHT, WIDTH), (HEIGHT, WIDTH, 3), (1, 1, HEIGHT, WIDTH), (HEIGHT * WIDTH,), ()):
            save(path, np.ones(shape, np.uint8))
            with pytest.raises(errors.UnsupportedFile, match=r"is not \[H, W\]"):
                open_dataset(data, described, tmp_path)
        for shape in ((WIDTH, HEIGHT), (1, WIDTH, HEIGHT), (HEIGHT, WIDTH + 1, 1)):
            save(path, np.ones(shape, np.uint8))
            with pytest.raises(errors.MaskSizeMismatch):
                open_dataset(data, described, tmp_path)
        for dtype in (complex, "datetime64[s]", "S3"):
            save(path, np.zeros((HEIGHT, WIDTH), dtype))
            with pytest.raises(errors.UnsupportedFile):
                open_dataset(data, described, tmp_path)
        floats = np.full((HEIGHT, WIDTH), np.nan)
        save(path, floats)
        with pytest.raises((errors.UnsupportedFile, errors.BadWeights)):
            list(open_dataset(data, described, tmp_path).batches(1))


def test_weights_that_are_no_doubles(tmp_path: Path) -> None:
    opened(tmp_path, weights=png(LABELS))
    path = tmp_path / "weights_" / "a.npy"
    (tmp_path / "weights_" / "a.png").unlink()
    described = Model((1, HEIGHT, WIDTH), Fraction(0), Fraction(1), (2, HEIGHT, WIDTH), ("a", "b"))
    data = Data("d", "image_/a.png", weights="weights_/a.npy")
    for value, dtype in ((2**53 + 1, np.int64), (2**64 - 1, np.uint64)):
        np.save(path, np.full((HEIGHT, WIDTH), value, dtype))
        with pytest.raises(errors.BadWeights, match="double"):
            list(open_dataset(data, described, tmp_path).batches(1))
    np.save(path, np.full((HEIGHT, WIDTH), 2**53, np.int64))
    (batch,) = open_dataset(data, described, tmp_path).batches(1)
    assert batch.weights is not None
    assert bool((batch.weights == 2.0**53).all())


class TestDamage:
    @pytest.mark.parametrize("kind", ["image", "mask", "region", "weights"])
    def test_fewer_rows_than_the_header_says(self, tmp_path: Path, kind: str) -> None:
        """A decoder fills up what is missing with 0, which is a class."""
        whole = (b"\0" + bytes([1] * WIDTH)) * HEIGHT
        for cut in (1, WIDTH + 1, 3 * WIDTH):
            with pytest.raises(errors.UnreadableFile, match="fewer rows"):
                read(tmp_path, **{kind: png(LABELS, rows=whole[:-cut])})
        read(tmp_path, **{kind: png(LABELS, rows=whole)})

    @pytest.mark.parametrize("kind", ["image", "mask", "region", "weights"])
    def test_a_wrong_checksum(self, tmp_path: Path, kind: str) -> None:
        for name in (b"IHDR", b"IDAT", b"tEXt"):
            blob = bytearray(png(LABELS % 2, before=chunk(b"tEXt", b"a\0b")))
            at = blob.index(name)
            length = int.from_bytes(blob[at - 4 : at], "big")
            blob[at + 4 + length] ^= 1
            with pytest.raises(errors.UnreadableFile, match="checksum"):
                read(tmp_path, **{kind: bytes(blob)})

    def test_chunks_without_end(self, tmp_path: Path) -> None:
        blob = png(LABELS % 2, before=chunk(b"teXt", b"") * 210_000)
        with pytest.raises(errors.UnreadableFile, match="more than 200000"):
            opened(tmp_path, image=blob)

    def test_segments_without_end(self, tmp_path: Path) -> None:
        blob = jpeg(np.zeros((2, 3, 1), int), b"\xff\xfe\0\2" * 110_000)
        with pytest.raises(errors.UnreadableFile, match="more than 100000"):
            opened(tmp_path, 1, 16, 24, image=blob)
