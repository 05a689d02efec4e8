"""Images and masks: pairing, exact scaling, labels, and every kind of bad file named."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from robspec.data import errors
from robspec.data.dataset import Dataset, open_dataset
from robspec.errors import RobspecError
from robspec.ir.types import Data, Model

ZERO, ONE = Fraction(0), Fraction(1)
KVASIR = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "kvasir"


def model(channels: int = 3, height: int = 4, width: int = 5, **changes: object) -> Model:
    """A model of a small input."""
    fields: dict[str, object] = {
        "input_shape": (channels, height, width),
        "low": ZERO,
        "high": ONE,
        "output_shape": (2, height, width),
        "classes": ("background", "thing"),
    }
    return Model(**(fields | changes))  # type: ignore[arg-type]


def pixels(seed: int, channels: int = 3) -> npt.NDArray[np.uint8]:
    """Random pixels [H, W, C] or [H, W]."""
    shape = (4, 5, channels) if channels > 1 else (4, 5)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images with masks."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for k in range(3):
        Image.fromarray(pixels(k)).save(tmp_path / "images" / f"{k}.png")
        Image.fromarray(pixels(k, 1) % 2).save(tmp_path / "masks" / f"{k}.png")
    return tmp_path


DATA = Data("val", "images/*", "masks/*")


def read(folder: Path, data: Data = DATA, described: Model | None = None, size: int = 2) -> list[torch.Tensor]:
    """Open and stream everything, images first, labels last."""
    batches = list(open_dataset(data, described or model(), folder).batches(size))
    images = torch.cat([b.images for b in batches])
    if not data.masks:
        return [images]
    return [images, torch.cat([b.labels for b in batches if b.labels is not None])]


def refused(folder: Path, kind: type[RobspecError], **options: object) -> RobspecError:
    """Open and stream, and demand a refusal of one kind."""
    with pytest.raises(kind) as caught:
        read(folder, **options)  # type: ignore[arg-type]
    assert caught.value.mend
    return caught.value


def test_batches_are_sorted_paired_and_bounded(folder: Path) -> None:
    dataset = open_dataset(DATA, model(), folder)
    batches = list(dataset.batches(2))
    assert len(dataset) == 3
    assert [b.names for b in batches] == [("images/0.png", "images/1.png"), ("images/2.png",)]
    for k in range(3):
        batch, at = batches[k // 2], k % 2
        expected = torch.from_numpy(pixels(k).astype(np.float64) / 255).permute(2, 0, 1).float()
        assert torch.equal(batch.images[at], expected)
        assert batch.labels is not None
        assert torch.equal(batch.labels[at], torch.from_numpy((pixels(k, 1) % 2).astype(np.int64)))
    assert batches[0].images.dtype == torch.float32


@pytest.mark.parametrize(
    ("low", "high"), [(ZERO, ONE), (Fraction(-1), ONE), (ZERO, Fraction(255)), (ZERO, Fraction(1, 10))]
)
def test_integers_are_scaled_exactly_once(folder: Path, low: Fraction, high: Fraction) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(levels).save(folder / "gray.png")
    described = model(1, 16, 16, low=low, high=high)
    (images,) = read(folder, Data("d", "gray.png"), described)
    exact = [np.float32(float(low + (high - low) * Fraction(u, 255))) for u in range(256)]
    assert images.flatten().tolist() == [float(v) for v in exact]
    dataset = open_dataset(Data("d", "gray.png"), described, folder)
    assert "255" in dataset.scaling
    assert "65535" in dataset.scaling


def test_sixteen_bits(folder: Path) -> None:
    levels = np.array([[0, 1, 65535], [256, 32768, 65534]], dtype=np.uint16)
    Image.fromarray(levels).save(folder / "deep.png")
    np.save(folder / "deep.npy", levels)
    for name in ("deep.png", "deep.npy"):
        (images,) = read(folder, Data("d", name), model(1, 2, 3))
        assert images.flatten().tolist() == [float(np.float32(u / 65535)) for u in levels.flatten().tolist()]


def raw_png(depth: int, kind: int, width: int, height: int, body: bytes) -> bytes:
    """A PNG by hand."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def test_sixteen_bit_colour_is_not_quietly_halved(folder: Path) -> None:
    (folder / "c.png").write_bytes(raw_png(16, 2, 5, 4, (b"\0" + b"\x12\x34" * 15) * 4))
    refused(folder, errors.UnsupportedFile, data=Data("d", "c.png"))


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("layout", ["CHW", "HWC"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64, ">f4"])
def test_arrays(folder: Path, suffix: str, layout: str, dtype: npt.DTypeLike) -> None:
    kind = np.dtype(dtype)
    drawn = pixels(7).transpose(2, 0, 1)
    values = drawn if kind.kind == "u" else drawn / 255
    stored = np.asfortranarray(values.astype(kind).transpose(1, 2, 0) if layout == "HWC" else values.astype(kind))
    (np.save if suffix == "npy" else np.savez_compressed)(folder / f"a.{suffix}", stored)
    (images,) = read(folder, Data("d", f"a.{suffix}"))
    scale = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(kind, 1)
    expected = (values.astype(kind).astype(np.float64) / scale).astype(np.float32)
    assert np.array_equal(images[0].numpy(), expected)


@pytest.mark.parametrize("channels", [2, 4, 7])
@pytest.mark.parametrize("first", [True, False])
def test_arrays_of_any_number_of_channels(folder: Path, channels: int, first: bool) -> None:
    values = np.arange(channels * 20, dtype=np.uint8).reshape(channels, 4, 5)
    np.save(folder / "many.npy", values if first else values.transpose(1, 2, 0))
    (images,) = read(folder, Data("d", "many.npy"), model(channels))
    assert np.array_equal(np.rint(images[0].numpy() * 255), values)


def test_jpeg_and_palette(folder: Path) -> None:
    Image.fromarray(pixels(1)).save(folder / "a.jpg")
    (images,) = read(folder, Data("d", "a.jpg"))
    assert images.shape == (1, 3, 4, 5)
    image = Image.new("P", (5, 4))
    image.putpalette([c for k in range(256) for c in (k, 255 - k, 7)])
    image.putdata(list(range(20)))
    image.save(folder / "p.png")
    (images,) = read(folder, Data("d", "p.png"))
    assert images[0, :, 0, 1].tolist() == [float(np.float32(v / 255)) for v in (1, 254, 7)]


def labelled(folder: Path, save: Callable[[Path], object], **changes: object) -> torch.Tensor:
    """Replace mask 0 by what `save` writes and read its labels."""
    for old in (folder / "masks").glob("0.*"):
        old.unlink()
    save(folder / "masks")
    data = Data("val", "images/0.png", "masks/0.*", **changes)  # type: ignore[arg-type]
    return read(folder, data)[1][0]


def test_masks(folder: Path) -> None:
    ids = pixels(9, 1) % 2
    expected = torch.from_numpy(ids.astype(np.int64))
    image = Image.new("P", (5, 4))
    image.putpalette([0, 0, 0, 200, 30, 40])
    image.putdata(ids.flatten().tolist())
    assert torch.equal(labelled(folder, lambda f: image.save(f / "0.png")), expected)
    assert torch.equal(labelled(folder, lambda f: Image.fromarray(ids.astype(bool)).save(f / "0.png")), expected)
    assert torch.equal(labelled(folder, lambda f: np.save(f / "0.npy", ids.astype(np.int64))), expected)
    assert torch.equal(labelled(folder, lambda f: np.savez(f / "0.npz", ids.astype(bool)[None])), expected)
    assert torch.equal(
        labelled(folder, lambda f: Image.fromarray(ids * 255).save(f / "0.png"), binary=True), expected
    )
    assert torch.equal(labelled(folder, lambda f: Image.fromarray(ids).save(f / "0.png"), binary=True), expected)


def test_the_ignore_label_is_kept(folder: Path) -> None:
    ids = pixels(9, 1) % 2
    ids[1, 2] = 255
    labels = labelled(folder, lambda f: Image.fromarray(ids).save(f / "0.png"), ignore=255)
    assert labels[1, 2] == 255
    assert labels.unique().tolist() == [0, 1, 255]
    assert torch.equal(
        labelled(folder, lambda f: Image.fromarray(ids).save(f / "0.png"), ignore=255, binary=True), labels
    )


@pytest.mark.parametrize(
    ("value", "changes", "says"),
    [
        (2, {}, "label 2 at 1 pixel, first at row 1, column 2"),
        (255, {}, "label 255"),
        (255, {"ignore": 254}, "the ignore label is 254"),
        (7, {"binary": True}, "label 7"),
    ],
)
def test_label_out_of_range(folder: Path, value: int, changes: dict[str, object], says: str) -> None:
    ids = np.zeros((4, 5), dtype=np.uint8)
    ids[1, 2] = value
    with pytest.raises(errors.LabelOutOfRange) as caught:
        labelled(folder, lambda f: Image.fromarray(ids).save(f / "0.png"), **changes)
    assert says in caught.value.what
    assert caught.value.where == "masks/0.png"


def test_negative_and_huge_labels(folder: Path) -> None:
    for value, dtype in ((-1, np.int64), (2**63, np.uint64)):
        ids = np.zeros((4, 5), dtype=dtype)
        ids[0, 0] = value
        with pytest.raises(errors.LabelOutOfRange, match=str(value)):
            labelled(folder, lambda f, ids=ids: np.save(f / "0.npy", ids))


def test_both_one_and_255_is_not_binary(folder: Path) -> None:
    ids = np.array([0, 1, 255, 0] * 5, dtype=np.uint8).reshape(4, 5)
    with pytest.raises(errors.LabelOutOfRange, match="label 1 "):
        labelled(folder, lambda f: Image.fromarray(ids).save(f / "0.png"), binary=True)


def test_empty(folder: Path) -> None:
    refused(folder, errors.EmptyDataSet, data=Data("d", "nothing/*.png"))
    refused(folder, errors.EmptyDataSet, data=Data("d", "images/*", "nothing/*"))
    refused(folder / "missing", errors.EmptyDataSet)


def test_images_without_masks_are_named_up_to_ten(folder: Path) -> None:
    for k in range(3, 15):
        Image.fromarray(pixels(k)).save(folder / "images" / f"x{k:02d}.png")
    error = refused(folder, errors.MissingMask)
    assert "12 of 15" in error.what
    assert error.what.count("images/x") == 10
    assert "and 2 more" in error.what


@pytest.mark.parametrize(("statement", "noun"), [("region", "region file"), ("weights", "weight file")])
def test_region_and_weight_files_are_called_what_they_are(folder: Path, statement: str, noun: str) -> None:
    (folder / "others").mkdir()
    data = Data("val", "images/*", "masks/*", **{statement: "others/*"})  # type: ignore[arg-type]
    assert statement in refused(folder, errors.EmptyDataSet, data=data).what
    for k in (0, 2):
        Image.fromarray(pixels(k, 1)).save(folder / "others" / f"{k}.png")
    missing = refused(folder, errors.MissingMask, data=data)
    assert missing.where == "images/1.png"
    assert f"have no {noun} under 'others/*'" in missing.what
    assert f"add the {noun}s" in missing.mend
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "others" / "1.png")
    size = refused(folder, errors.MaskSizeMismatch, data=data)
    assert size.where == "others/1.png"
    assert f"the {noun} is 9 x 9" in size.what
    Image.fromarray(pixels(1)).save(folder / "others" / "1.png")
    assert f"a {noun} of kind PNG, mode RGB" in refused(folder, errors.UnsupportedFile, data=data).what


def test_duplicate_stems(folder: Path) -> None:
    Image.fromarray(pixels(0)).save(folder / "images" / "0.jpg")
    assert "0.jpg" in refused(folder, errors.DuplicateStem).what
    refused(folder, errors.DuplicateStem, data=Data("d", "images/*"))


def test_shapes_are_checked_before_any_work(folder: Path) -> None:
    with pytest.raises(errors.ImageShapeMismatch, match="3 x 4 x 5"):
        open_dataset(DATA, model(3, 4, 6), folder)
    with pytest.raises(errors.ImageShapeMismatch):
        open_dataset(DATA, model(1), folder)
    with pytest.raises(errors.MaskSizeMismatch, match="the mask is 4 x 5, the logits are 2 x 5"):
        open_dataset(DATA, model(output_shape=(2, 2, 5)), folder)
    for suffix, save in (("npy", np.save), ("npz", np.savez)):
        save(folder / f"z.{suffix}", np.zeros((3, 9, 9)))
        with pytest.raises(errors.ImageShapeMismatch, match="3 x 9 x 9"):
            open_dataset(Data("d", f"z.{suffix}"), model(), folder)


def test_gray_jpeg_for_a_colour_model(folder: Path) -> None:
    Image.fromarray(pixels(0, 1)).save(folder / "g.jpg")
    grey = refused(folder, errors.ImageShapeMismatch, data=Data("d", "g.jpg"))
    assert "1 x 4 x 5" in grey.what
    assert grey.mend == "save it as RGB, or correct `input`"
    Image.fromarray(pixels(0, 4)).save(folder / "rgba.png")
    assert "transparent" in refused(folder, errors.UnsupportedFile, data=Data("d", "rgba.png")).what


@pytest.mark.parametrize("keep", [0, 4, 40, -20])
@pytest.mark.parametrize("suffix", ["png", "jpg", "npy", "npz"])
def test_damaged_files_are_named(folder: Path, keep: int, suffix: str) -> None:
    path = folder / f"bad.{suffix}"
    if suffix in ("png", "jpg"):
        # Wide enough that the cut takes pixels from a JPEG, not only its end marker.
        Image.fromarray(np.tile(pixels(0), (20, 20, 1))).save(path)
    else:
        (np.save if suffix == "npy" else np.savez)(path, pixels(0))
    path.write_bytes(path.read_bytes()[:keep])
    described = model(3, 80, 100) if suffix in ("png", "jpg") else model()
    error = refused(folder, errors.UnreadableFile, data=Data("d", path.name), described=described)
    assert error.where == path.name


def test_an_array_header_that_python_cannot_tokenise(folder: Path) -> None:
    np.save(folder / "open.npy", pixels(0))
    path = folder / "open.npy"
    path.write_bytes(path.read_bytes().replace(b"'shape': (", b"'shape': {", 1).replace(b"), }", b"),  ", 1))
    refused(folder, errors.UnreadableFile, data=Data("d", path.name))


def test_a_suffix_proves_nothing(folder: Path) -> None:
    Image.fromarray(pixels(0)).save(folder / "a.bmp")
    (folder / "a.bmp").rename(folder / "g.png")
    refused(folder, errors.UnreadableFile, data=Data("d", "g.png"))
    (folder / "t.txt").write_text("x")
    refused(folder, errors.UnsupportedFile, data=Data("d", "t.txt"))


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.trace,))


def test_object_arrays_are_not_unpickled(folder: Path) -> None:
    trace = folder / "ran"
    array = np.array([Bomb(trace)], dtype=object)
    np.save(folder / "o.npy", array)
    np.savez(folder / "o.npz", array)
    for name in ("o.npy", "o.npz"):
        refused(folder, errors.UnreadableFile, data=Data("d", name))
    assert not trace.exists()


def test_bombs_are_refused_by_their_header(folder: Path) -> None:
    (folder / "b.png").write_bytes(raw_png(8, 2, 60_000, 60_000, b""))
    refused(folder, errors.FileTooLarge, data=Data("d", "b.png"))
    (folder / "m.png").write_bytes(raw_png(8, 2, 5_000, 5_000, b""))
    refused(folder, errors.ImageShapeMismatch, data=Data("d", "m.png"))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    (folder / "b.npy").write_bytes(header.getvalue())
    refused(folder, errors.ImageShapeMismatch, data=Data("d", "b.npy"))
    with zipfile.ZipFile(folder / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        buffer = io.BytesIO()
        np.save(buffer, np.zeros((3, 4, 5)))
        archive.writestr("a.npy", buffer.getvalue() + bytes(50_000_000))
    assert (folder / "b.npz").stat().st_size < 100_000
    refused(folder, errors.FileTooLarge, data=Data("d", "b.npz"))


def test_several_arrays(folder: Path) -> None:
    np.savez(folder / "s.npz", a=np.zeros(1), b=np.zeros(1))
    assert "a.npy, b.npy" in refused(folder, errors.AmbiguousArchive, data=Data("d", "s.npz")).what


@pytest.mark.parametrize("value", [1.0001, -0.5, 255.0, np.nan, np.inf])
def test_floats_outside_the_range(folder: Path, value: float) -> None:
    array = np.zeros((3, 4, 5), dtype=np.float32)
    array[1, 1, 1] = value
    np.save(folder / "f.npy", array)
    assert refused(folder, errors.PixelOutOfRange, data=Data("d", "f.npy")).where == "f.npy"


def test_the_rounded_bound_is_inside(folder: Path) -> None:
    np.save(folder / "f.npy", np.full((3, 4, 5), 0.1, dtype=np.float32))
    read(folder, Data("d", "f.npy"), model(high=Fraction(1, 10)))


@pytest.mark.parametrize("array", [np.zeros((3, 4, 5), dtype=np.int64), np.zeros((3, 4, 5), dtype=complex)])
def test_dtypes_without_a_scale(folder: Path, array: npt.NDArray[np.generic]) -> None:
    np.save(folder / "d.npy", array)
    refused(folder, errors.UnsupportedFile, data=Data("d", "d.npy"))


def test_colour_and_jpeg_masks(folder: Path) -> None:
    for save in (
        lambda f: Image.fromarray(pixels(0)).save(f / "0.png"),
        lambda f: Image.fromarray(pixels(0, 1)).save(f / "0.jpg"),
        lambda f: np.save(f / "0.npy", np.zeros((4, 5))),
    ):
        with pytest.raises(errors.UnsupportedFile):
            labelled(folder, save)


def test_digest(folder: Path) -> None:
    def opened() -> Dataset:
        return open_dataset(DATA, model(), folder)

    streamed = opened()
    list(streamed.batches(1))
    first = opened().digest()
    assert streamed.digest() == first == opened().digest()
    (folder / "masks" / "0.png").rename(folder / "masks" / "kept")
    Image.fromarray(1 - pixels(0, 1) % 2).save(folder / "masks" / "0.png")
    (folder / "masks" / "kept").unlink()
    assert opened().digest() != first
    with pytest.raises(errors.FileChanged):
        list(streamed.batches(1))


def test_unreadable_by_permission_or_removal(folder: Path) -> None:
    dataset = open_dataset(DATA, model(), folder)
    (folder / "images" / "1.png").unlink()
    with pytest.raises(errors.UnreadableFile) as caught:
        list(dataset.batches(1))
    assert caught.value.where == "images/1.png"


@pytest.mark.real_data
@pytest.mark.skipif(not KVASIR.is_dir(), reason="no kvasir data beside the checkout")
def test_kvasir() -> None:
    described = model(3, 256, 256)
    dataset = open_dataset(Data("kvasir", "images/*.png", "masks/*.png"), described, KVASIR)
    batches = list(dataset.batches(16))
    assert [len(b.names) for b in batches] == [16, 16, 16, 12]
    assert all(b.labels is not None and set(b.labels.unique().tolist()) <= {0, 1} for b in batches)


@pytest.mark.parametrize("kind", ["dangling link", "folder"])
@pytest.mark.parametrize("where", ["images", "masks"])
def test_a_match_that_is_no_file_is_never_left_out_in_silence(folder: Path, where: str, kind: str) -> None:
    path = folder / where / "1.png"
    path.unlink()
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(folder / "nowhere.png")
    error = refused(folder, errors.UnreadableFile)
    assert f"{where}/1.png" in error.where
