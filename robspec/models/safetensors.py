"""The safetensors format, read directly: a length, a JSON table, then raw bytes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from robspec.models import strict
from robspec.models.errors import ModelTooLarge

if TYPE_CHECKING:
    from torch import Tensor

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def looks_like_safetensors(blob: bytes) -> bool:
    """Tell by the first bytes whether a file is safetensors."""
    length = int.from_bytes(blob[:8], "little")
    return len(blob) > 9 and 2 <= length <= len(blob) - 8 and blob[8:9] == b"{"


def read_safetensors(blob: bytes, where: str) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Args:
        blob: the file's bytes.
        where: the file, for the error.

    Returns:
        Tensors by name, on the CPU, in their stored dtype.

    Raises:
        InconsistentArchive: E0212, a table that disagrees with the bytes.
        ModelTooLarge: E0210.

    Source:
        https://huggingface.co/docs/safetensors/index#format
    """
    import torch

    length = int.from_bytes(blob[:8], "little")
    if length > strict.MAX_JSON:
        raise ModelTooLarge(where, "its table is too large", "check the file's origin")
    table = strict.mapping(strict.parse(blob[8 : 8 + length], where), where)
    body = memoryview(blob)[8 + length :]
    tensors: dict[str, Tensor] = {}
    for key, entry in table.items():
        if key == "__metadata__":
            continue
        fields = strict.mapping(entry, where)
        kind = _DTYPES.get(str(fields.get("dtype")))
        if kind is None:
            strict.wrong(where, f"{key[:80]!r} has dtype {str(fields.get('dtype'))[:20]!r}")
        dtype: torch.dtype = getattr(torch, kind)
        shape = [strict.integer(n, where, 0, 1 << 40) for n in strict.sequence(fields.get("shape"), where, 16)]
        ends = [strict.integer(n, where, 0) for n in strict.sequence(fields.get("data_offsets"), where, 2)]
        count = math.prod(shape)
        if len(ends) != 2 or ends[1] > len(body) or ends[1] - ends[0] != count * dtype.itemsize:
            strict.wrong(where, f"{key[:80]!r} does not lie in the file as its table says")
        raw = bytearray(body[ends[0] : ends[1]])
        tensors[key] = torch.frombuffer(raw, dtype=dtype).reshape(shape) if count else torch.empty(shape, dtype=dtype)
    return tensors
