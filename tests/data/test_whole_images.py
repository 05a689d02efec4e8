"""Labels of whole images: a table, or one folder for each class; every way of naming an image, every mistake."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from robspec.data.dataset import Dataset, open_dataset
from robspec.errors import RobspecError
from robspec.ir.types import Data, Model

CLASSES = ("cat", "dog", "7")


def model(classes: tuple[str, ...] = CLASSES) -> Model:
    return Model((1, 2, 2), Fraction(0), Fraction(1), (len(classes),), classes)


def write(root: Path, *names: str) -> None:
    for k, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.full((1, 2, 2), k / 10, np.float32))


def opened(root: Path, table: str, images: str = "img/*.npy", labels: str = "labels.csv") -> Dataset:
    (root / labels).parent.mkdir(exist_ok=True, parents=True)
    (root / labels).write_text(table, encoding="utf-8")
    return open_dataset(Data("d", images, labels=labels), model(), root)


def refused(root: Path, table: str, images: str = "img/*.npy") -> RobspecError:
    with pytest.raises(RobspecError) as caught:
        opened(root, table, images)
    return caught.value


def test_a_table_labels_images_by_path_by_name_and_as_seen_from_its_folder(tmp_path: Path) -> None:
    write(tmp_path, "img/a.npy", "img/b.npy", "img/c.npy")
    table = 'image,split,label\nimg/a.npy,x,dog\nb.npy,"a, b",cat\n./img/c.npy,,7\nelsewhere.npy,,cat\n'
    assert opened(tmp_path, table).labels == (1, 0, 2)
    seen = "label,image\r\ndog,a.npy\r\ncat,b.npy\r\n1,c.npy\r\n"
    assert opened(tmp_path, seen, labels="img/labels.csv").labels == (1, 0, 1)


def test_a_byte_order_mark_and_capitals_in_the_first_line_are_no_matter(tmp_path: Path) -> None:
    write(tmp_path, "img/a.npy")
    assert opened(tmp_path, "\ufeffImage , LABEL\na.npy, dog\n").labels == (1,)


def test_a_class_whose_name_is_a_number_is_meant_by_its_name(tmp_path: Path) -> None:
    """`7` is the third class; `2` is called by no class, and is its index."""
    write(tmp_path, "img/a.npy", "img/b.npy")
    assert opened(tmp_path, "image,label\na.npy,7\nb.npy,2\n").labels == (2, 2)


def test_no_index_is_read_beside_a_class_called_by_the_index_of_another(tmp_path: Path) -> None:
    """Of classes 1, 2, 3 the indices 0 and 1 would both be the first."""
    write(tmp_path, "1/a.npy", "3/b.npy", "0/c.npy")
    classes = model(("1", "2", "3"))
    assert open_dataset(Data("d", "[13]/*.npy", by_folder=True), classes, tmp_path).labels == (0, 2)
    with pytest.raises(RobspecError, match=r"write a class name$") as caught:
        open_dataset(Data("d", "*/*.npy", by_folder=True), classes, tmp_path)
    assert caught.value.code == "E0306"
    in_order = model(("0", "dog", "2"))
    (tmp_path / "t.csv").write_text("image,label\na.npy,1\nb.npy,2\nc.npy,0\n")
    assert open_dataset(Data("d", "*/*.npy", labels="t.csv"), in_order, tmp_path).labels == (0, 1, 2)


def test_some_of_the_images_keep_their_own_labels(tmp_path: Path) -> None:
    write(tmp_path, "img/a.npy", "img/b.npy", "img/c.npy")
    data = opened(tmp_path, "image,label\na.npy,dog\nb.npy,cat\nc.npy,7\n")
    (batch,) = data.only([2, 1]).batches(8)
    assert batch.names == ("img/c.npy", "img/b.npy")
    assert batch.labels is not None
    assert batch.labels.flatten().tolist() == [2, 0]


def test_folders_label_their_images(tmp_path: Path) -> None:
    write(tmp_path, "v/cat/a.npy", "v/dog/a.npy", "v/dog/b.npy")
    data = open_dataset(Data("d", "v/*/*.npy", by_folder=True), model(), tmp_path)
    (batch,) = data.batches(8)
    assert batch.names == ("v/cat/a.npy", "v/dog/a.npy", "v/dog/b.npy")
    assert batch.labels is not None
    assert batch.labels.shape == (3, 1, 1)
    assert batch.labels.flatten().tolist() == [0, 1, 1]


def test_the_digest_covers_the_table(tmp_path: Path) -> None:
    write(tmp_path, "img/a.npy")
    one = opened(tmp_path, "image,label\na.npy,cat\n").digest()
    assert one != opened(tmp_path, "image,label\na.npy,dog\n").digest()


@pytest.mark.parametrize(
    ("table", "code", "says"),
    [
        ("image,class\na.npy,cat\n", "E0318", "class"),
        ("", "E0318", "nothing"),
        ("image,label,image\na.npy,cat,b\n", "E0318", "image"),
        ("image,label\na.npy\n", "E0318", "line 2"),
        ('image,label\na.npy,"cat\n', "E0318", "CSV"),
        ("image,label\na.npy,cat\nimg/a.npy,dog\n", "E0318", "line 3"),
        ("image,label\na.npy,cat\n", "E0302", "b.npy"),
        ("image,label\na.npy,kat\n", "E0306", "cat"),
        ("image,label\na.npy,-1\n", "E0306", "'-1'"),
        ("image,label\na.npy,3\n", "E0306", "'3'"),
        ("image,label\na.npy,\n", "E0306", "''"),
        ("image,label\na.npy,1.0\n", "E0306", "'1.0'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, table: str, code: str, says: str) -> None:
    write(tmp_path, "img/a.npy", "img/b.npy")
    error = refused(tmp_path, table)
    assert error.code == code
    assert says in str(error)


def test_a_name_that_two_images_have_needs_its_path(tmp_path: Path) -> None:
    write(tmp_path, "img/x/a.npy", "img/y/a.npy")
    error = refused(tmp_path, "image,label\na.npy,cat\n", "img/*/*.npy")
    assert error.code == "E0318"
    assert "2 images" in str(error)
    table = "image,label\nimg/x/a.npy,cat\nimg/y/a.npy,dog\n"
    assert opened(tmp_path, table, "img/*/*.npy").labels == (0, 1)


def test_a_folder_that_is_no_class_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "v/cats/a.npy")
    with pytest.raises(RobspecError) as caught:
        open_dataset(Data("d", "v/*/*.npy", by_folder=True), model(), tmp_path)
    assert caught.value.code == "E0306"
    assert "did you mean `cat`" in str(caught.value)


def test_latin_text_is_no_table(tmp_path: Path) -> None:
    write(tmp_path, "img/a.npy")
    (tmp_path / "labels.csv").write_bytes("image,label\nä.npy,cat\n".encode("latin-1"))
    with pytest.raises(RobspecError) as caught:
        open_dataset(Data("d", "img/*.npy", labels="labels.csv"), model(), tmp_path)
    assert caught.value.code == "E0318"
