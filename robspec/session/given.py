"""What Python hands over, models and data, as the files that a check works on."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from robspec.models.choice import Choice
from robspec.models.export import export_archive
from robspec.models.picked import Picked
from robspec.session.errors import UnsuitableData, UnsuitableModel
from robspec.syntax import ast

Model = Path | str | ExportedProgram | nn.Module
"""A file, or an object that holds a network."""


def model_file(model: Model, folder: Path, shape: tuple[int, int, int] | None, choice: Choice) -> tuple[Path, Choice]:
    """Give a model as a file.

    Args:
        model: a path, an exported program, or a module in evaluation mode.
        folder: where a file may be written.
        shape: C, H, W of the images, for a module.
        choice: which output is meant.

    Returns:
        The file, and what is still to be chosen of it.

    Raises:
        UnsuitableModel: E0611, a module in training mode, one without a known size, or something else.
        RobspecError: E0213, the module cannot be exported.
    """
    if isinstance(model, str | Path):
        return Path(model), choice
    path = folder / f"{type(model).__name__}.pt2"
    if isinstance(model, ExportedProgram):
        buffer = io.BytesIO()
        torch.export.save(model, buffer)
        path.write_bytes(buffer.getvalue())
        return path, choice
    if not isinstance(model, nn.Module):
        raise UnsuitableModel(
            "model", f"a {type(model).__name__} is no model", "give a path, an ExportedProgram or an nn.Module"
        )
    if any(part.training for part in model.modules()):
        raise UnsuitableModel("model", f"the {type(model).__name__} is in training mode", "call model.eval() first")
    if shape is None:
        raise UnsuitableModel("model", "the size of its images is not known", "give it: shape=(3, 64, 64)")
    network = model if choice.output is None else Picked(model, choice.output)
    path.write_bytes(export_archive(network, None, shape, 64, type(model).__name__).archive)
    return path, Choice()


def data_files(data: Any, folder: Path) -> tuple[ast.DataStatement, ...]:
    """Write images and masks, or labels, where the reader of every check finds them.

    Args:
        data: a torch Dataset or DataLoader of (image, mask) or (image, label); images are floats [C, H, W] in the
            declared range, masks whole numbers [H, W], labels single whole numbers.
        folder: where to write.

    Returns:
        Statements of a data block that say where they are.

    Raises:
        UnsuitableData: E0612, an item is something else.
    """
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    labels: list[tuple[str, int]] = []
    count = 0
    for image, annotation in _items(data):
        name = f"{count:06d}.npy"
        np.save(folder / "images" / name, _image(image, count))
        mask = _mask(annotation, count)
        if mask.ndim == 0:
            labels.append((f"images/{name}", int(mask)))
        else:
            np.save(folder / "masks" / name, mask)
        count += 1
    if count == 0:
        raise UnsuitableData("data", "it holds no image", "give a data set of (image, mask)")
    images = ast.Images("images/*.npy")
    if not labels:
        return images, ast.Masks("masks/*.npy")
    if len(labels) != count:
        raise UnsuitableData("data", "some items have a mask and some a label", "give one kind")
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "label"), *labels])
    return images, ast.Labels("labels.csv")


def _items(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every image with its annotation, one by one."""
    batched = isinstance(data, torch.utils.data.DataLoader) and data.batch_size is not None
    source: Iterable[Any] = data
    if not batched and hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        source = (data[i] for i in range(len(data)))
    for i, item in enumerate(source):
        if not isinstance(item, Sequence) or len(item) != 2:
            raise UnsuitableData(
                f"data: item {i}", f"it is a {type(item).__name__}, not a pair of image and mask", "give pairs"
            )
        if batched:
            yield from zip(item[0], item[1], strict=True)
        else:
            yield item[0], item[1]


def _image(image: Any, index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    found = image.detach().cpu() if isinstance(image, Tensor) else torch.as_tensor(np.asarray(image))
    if found.dim() != 3 or found.dtype not in (torch.float32, torch.float64):
        raise UnsuitableData(
            f"data: image {index}",
            f"it is {list(found.shape)} of {found.dtype}",
            "give floats [C, H, W] in the range of the specification's input, without the model's normalisation",
        )
    exact = found.to(torch.float32)
    if not torch.equal(exact.to(found.dtype), found):
        raise UnsuitableData(
            f"data: image {index}", "float32 cannot hold its numbers, and would round them", "give .float() images"
        )
    return exact.contiguous().numpy()


def _mask(mask: Any, index: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    found = mask.detach().cpu() if isinstance(mask, Tensor) else torch.as_tensor(np.asarray(mask))
    if found.dim() == 3 and found.shape[0] == 1:
        found = found[0]
    if found.dim() not in (0, 2) or found.is_floating_point() or found.is_complex():
        raise UnsuitableData(
            f"data: mask {index}",
            f"it is {list(found.shape)} of {found.dtype}",
            "give whole numbers: [H, W] for a mask, one for a label",
        )
    return found.to(torch.int64).contiguous().numpy()
