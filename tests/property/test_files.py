"""Images, masks, weights and models of arbitrary bytes: read, or refused by a coded error that names the file."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from robspec.data.dataset import open_dataset
from robspec.errors import RobspecError
from robspec.ir.types import Data, Model
from robspec.models.loading import load
from tests.examples import examples
from tests.models.archives import exported, small

DESCRIBED = Model((3, 4, 5), Fraction(0), Fraction(1), (2, 4, 5), ("a", "b"))
DATA = Data("val", "image/*", "mask/*", 255, region="region/*", weights="weights/*")


def png(pixels: np.ndarray) -> bytes:
    """The bytes of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    """The bytes of a numpy file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(array: np.ndarray) -> bytes:
    """The bytes of a numpy archive."""
    stream = io.BytesIO()
    np.savez_compressed(stream, array=array)
    return stream.getvalue()


PICTURE = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
LABELS = (np.arange(20, dtype=np.uint8) % 2).reshape(4, 5)
SOUND = {"image.png": png(PICTURE), "mask.png": png(LABELS), "region.png": png(LABELS * 255)} | {
    "weights.npy": npy(np.ones((4, 5)))
}
TARGETS = {
    "image.png": SOUND["image.png"],
    "image.npy": npy(PICTURE.transpose(2, 0, 1)),
    "mask.png": SOUND["mask.png"],
    "mask.npy": npy(LABELS),
    "mask.npz": npz(LABELS),
    "region.png": SOUND["region.png"],
    "weights.npy": SOUND["weights.npy"],
    "weights.npz": npz(np.ones((4, 5))),
}


def read(root: Path, name: str, content: bytes) -> None:
    """Read a data set one of whose files has these bytes; it is read, or refused with the file's name."""
    files = {kept: data for kept, data in SOUND.items() if Path(kept).stem != Path(name).stem}
    for file, data in (files | {name: content}).items():
        folder = root / Path(file).stem  # files pair by stem, so each kind has a folder
        folder.mkdir(exist_ok=True)
        for stale in folder.iterdir():
            stale.unlink()
        (folder / f"x{Path(file).suffix}").write_bytes(data)
    refusal = None
    try:
        for batch in open_dataset(DATA, DESCRIBED, root).batches(1):
            assert batch.images.shape == (1, 3, 4, 5)
            assert batch.labels is not None
            assert set(batch.labels.unique().tolist()) <= {0, 1, 255}
            assert batch.weights is not None
            assert bool((batch.weights >= 0).all())
    except RobspecError as error:
        refusal = error
    assert refusal is None or (Path(name).stem in f"{refusal.where} {refusal.what}" and refusal.mend)


@st.composite
def changed(draw: st.DrawFn, sound: bytes) -> bytes:
    """A file with a few places overwritten, a piece taken out, or its end cut off."""
    data = bytearray(sound)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 3)) == 0 else data)


class TestData:
    """Hostile-input safe: nothing but a coded error, whatever the file holds."""

    @pytest.mark.parametrize("name", sorted(TARGETS))
    @settings(max_examples=examples(20))
    @given(content=st.binary(max_size=300))
    def test_random_bytes(self, name: str, content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
        read(fresh(tmp_path_factory), name, content)

    @pytest.mark.parametrize("name", sorted(TARGETS))
    @settings(max_examples=examples(25))
    @given(data=st.data())
    def test_changed_bytes(self, name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
        read(fresh(tmp_path_factory), name, data.draw(changed(TARGETS[name])))


def fresh(factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples: they only replace its files."""
    folder = factory.getbasetemp() / "hostile-data"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def archive() -> bytes:
    """A sound model archive."""
    return exported(small())


def repacked(archive: bytes, name: str, edit: Callable[[bytes], bytes]) -> bytes:
    """The archive with one record edited, its checksum set right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            new.writestr(info.filename, edit(content) if info.filename == name else content)
    return out.getvalue()


class TestModels:
    """A model file is loaded as it stands or refused by a coded error; a damaged one never crashes the loader."""

    @settings(max_examples=examples(30))
    @given(content=st.binary(max_size=300), magic=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"PK\x05\x06"]))
    def test_random_bytes(self, content: bytes, magic: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
        loaded(tmp_path_factory.getbasetemp() / "random.pt2", magic + content)

    @settings(max_examples=examples(25))
    @given(data=st.data())
    def test_changed_bytes(
        self, data: st.DataObject, archive: bytes, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        loaded(tmp_path_factory.getbasetemp() / "changed.pt2", data.draw(changed(archive)))

    @settings(max_examples=examples(25))
    @given(data=st.data())
    def test_changed_records(
        self, data: st.DataObject, archive: bytes, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """Behind a right checksum, the reader of each record is reached."""
        with zipfile.ZipFile(io.BytesIO(archive)) as file:
            names = sorted(file.namelist())
        name = data.draw(st.sampled_from(names))
        blob = repacked(archive, name, lambda content: data.draw(changed(content)))
        loaded(tmp_path_factory.getbasetemp() / "records.pt2", blob)


def loaded(path: Path, blob: bytes) -> None:
    """Load a file of these bytes: a model, or a coded error."""
    path.write_bytes(blob)
    with contextlib.suppress(RobspecError):
        assert load(path).input_shape == (3, 8, 8)
