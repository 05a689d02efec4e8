"""Stored tensors: what an archive says of them, checked against the bytes it holds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from robspec.models import strict, symbols
from robspec.models.errors import ModelTooLarge

# torch._export.serde.schema.ScalarType, restricted to what an image model holds.
DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
_STRIDED = 7
_DIMENSIONS = 16
_MOST_VALUES = 1 << 31
_NOTHING: Mapping[str, int] = MappingProxyType({})
_PAYLOAD = re.compile(r"(?:weight|tensor)_\d{1,9}", re.ASCII)


def dtype(value: Any, where: str) -> int:
    """Take a scalar type that is a plain number."""
    code = strict.integer(value, where, 0, 100)
    if code not in DTYPES:
        strict.wrong(where, f"scalar type {code} is not a plain number type")
    return code


def layout(value: Any, where: str) -> int:
    """Take the strided layout, the only one."""
    if value != _STRIDED:
        strict.wrong(where, "a tensor is not strided")
    return _STRIDED


def device(value: Any, where: str) -> dict[str, Any]:
    """Take a device; whatever machine the archive was written on, it is loaded on the CPU first."""
    kind = strict.mapping(value, where).get("type")
    if kind not in ("cpu", "cuda"):
        strict.wrong(where, f"device {str(kind)[:40]!r} is neither cpu nor cuda")
    return {"type": "cpu", "index": None}


def meta(value: Any, where: str, known: Mapping[str, int] = _NOTHING) -> dict[str, Any]:
    """Check a tensor's description and copy it, without gradients.

    Raises:
        InconsistentArchive: E0212.
        UnsafeArchive: E0207, a size that is not a plain expression.
    """
    fields = strict.mapping(value, where)

    def sizes(name: str) -> list[dict[str, Any]]:
        return [symbols.size(s, where, known) for s in strict.sequence(fields.get(name), where, _DIMENSIONS)]

    return {
        "dtype": dtype(fields.get("dtype"), where),
        "sizes": sizes("sizes"),
        "requires_grad": False,
        "device": device(fields.get("device"), where),
        "strides": [
            symbols.size(s, where, known) for s in strict.sequence(fields.get("strides"), where, _DIMENSIONS)
        ],
        "storage_offset": symbols.size(fields.get("storage_offset"), where, known),
        "layout": layout(fields.get("layout"), where),
    }


def payloads(config: Any, sizes: dict[str, int], where: str) -> dict[str, Any]:
    """Check a table of stored tensors against the sizes of their records.

    Args:
        config: the parsed `model_weights_config.json` or `model_constants_config.json`.
        sizes: bytes of each record in the table's folder.
        where: the file and record, for the error.

    Returns:
        A copy in which every tensor is unpickled data lying inside its record.

    Raises:
        UnsafeArchive: E0207, an entry stored as a pickle or a custom object.
        InconsistentArchive: E0212, a tensor outside its record.
        ModelTooLarge: E0210.
    """
    checked: dict[str, Any] = {}
    kinds: dict[str, int] = {}
    table = strict.mapping(strict.mapping(config, where).get("config"), where)
    for key, entry in table.items():
        at = f"{where}: {strict.plain(key, where)}"
        fields = strict.mapping(entry, at)
        record = fields.get("path_name")
        if fields.get("use_pickle") is not False:
            strict.unsafe(at, "the tensor is stored as a pickle, and reading it would run its code")
        if not isinstance(record, str) or not _PAYLOAD.fullmatch(record):
            strict.unsafe(at, f"it refers to {str(record)[:80]!r}, an object that only unpickling could read")
        if record not in sizes:
            strict.wrong(at, f"the record {record} is missing")
        described = meta(fields.get("tensor_meta"), at)
        if kinds.setdefault(record, described["dtype"]) != described["dtype"]:
            strict.wrong(at, f"the record {record} is used with two scalar types")
        _inside(described, sizes[record], at)
        checked[key] = {
            "path_name": record,
            "is_param": strict.boolean(fields.get("is_param"), at),
            "use_pickle": False,
            "tensor_meta": described,
        }
    return {"config": checked}


def _inside(described: dict[str, Any], stored: int, where: str) -> None:
    """Every element of the tensor must be one of the record's, and there must not be absurdly many."""
    shape = [_number(s, where, 0) for s in described["sizes"]]
    strides = [_number(s, where, 0) for s in described["strides"]]
    offset = _number(described["storage_offset"], where, 0)
    if len(shape) != len(strides):
        strict.wrong(where, "a tensor has not one stride per side")
    item = DTYPES[described["dtype"]].itemsize
    if stored % item:
        strict.wrong(where, "the record is not a whole number of elements")
    count = math.prod(shape)
    if count > _MOST_VALUES:
        raise ModelTooLarge(where, f"it declares {count} values, more than {_MOST_VALUES}", "check the origin")
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if count and (last + 1) * item > stored:
        strict.wrong(where, f"the tensor reaches byte {(last + 1) * item} of a record of {stored}")


def _number(value: dict[str, Any], where: str, low: int) -> int:
    if "as_int" not in value:
        strict.wrong(where, "a stored tensor has a symbolic size")
    return strict.integer(value["as_int"], where, low, 1 << 40)
