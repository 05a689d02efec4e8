"""Files of torch.save: which tables of tensors they hold, and the tensors of one of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from robspec.models import strict
from robspec.models.errors import DamagedModel, WhichWeights
from robspec.models.pickles import Said, Storage, Stored, UnsoundPickle, read_pickle
from robspec.models.records import read_records

if TYPE_CHECKING:
    from torch import Tensor

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MOST_ENTRIES = 1_000_000
_DEPTH = 8
_SHOWN = 5


@dataclass(frozen=True)
class Checkpoint:
    """One file of torch.save, read as far as its pickle goes.

    Args:
        said: the pickle of its content.
        storages: the bytes of each storage, by key; a storage without bytes is missing.
    """

    said: Said
    storages: dict[str, memoryview] = field(repr=False)

    @property
    def tables(self) -> dict[tuple[object, ...], dict[str, Stored]]:
        """Tables of tensors by name, by the keys that lead to them; () is the file's whole content."""
        return dict(_tables(self.said.value))


def from_zip(blob: bytes, where: str) -> Checkpoint:
    """Read what torch.save writes today: a zip of one pickle and one record per storage.

    Raises:
        UnsoundPickle: its pickle is none.
        RobspecError: E0203, E0207 or E0212, the container.
    """
    records = read_records(blob, where)
    if records.get("byteorder", b"little") != b"little":
        strict.wrong(where, "its tensors are big-endian")
    said = read_pickle(records["data.pkl"])
    if said.end != len(records["data.pkl"]):
        raise UnsoundPickle("something follows its pickle")
    bodies = {n.removeprefix("data/"): memoryview(r) for n, r in records.items() if n.startswith("data/")}
    return Checkpoint(said, bodies)


def is_old(blob: bytes) -> bool:
    """Tell whether a file begins as torch.save began all until version 1.6."""
    try:
        return read_pickle(blob[:64]).value == MAGIC
    except UnsoundPickle:
        return False


def from_old(blob: bytes, where: str) -> Checkpoint:
    """Read what torch.save wrote until version 1.6: five pickles, then the storages one after the other.

    Raises:
        UnsoundPickle: one of its pickles is none.
        DamagedModel: E0203, it ends before its storages do.
        InconsistentArchive: E0212, written on a big-endian machine.

    Source:
        torch 2.13.0, torch/serialization.py, _legacy_save and _legacy_load.
    """
    parts, at = [], 0
    for _ in range(5):
        parts.append(read_pickle(blob, at))
        at = parts[-1].end
    _, version, machine, content, keys = parts
    known = isinstance(machine.value, dict) and machine.value.get("little_endian") is True
    if version.value != _PROTOCOL or not known:
        strict.wrong(where, "its header is not that of a little-endian machine and of protocol 1001")
    if not isinstance(keys.value, list) or any(p.names for p in (version, machine, keys)):
        raise UnsoundPickle("its list of storages is none")
    widths = {s.key: _width(s.dtype) for s in content.storages}
    storages: dict[str, memoryview] = {}
    view = memoryview(blob)
    for key in keys.value:
        count = int.from_bytes(view[at : at + 8], "little", signed=True)
        end = at + 8 + count * widths.get(str(key), 1)
        if count < 0 or end > len(blob):
            raise DamagedModel(where, "it ends before its tensors do", "copy the file again and compare its hash")
        storages[str(key)] = view[at + 8 : end]
        at = end
    return Checkpoint(content, storages)


def choose(found: Checkpoint, where: str, key: str | None) -> dict[str, Stored]:
    """Pick the table of tensors that is wanted.

    Args:
        found: the file.
        where: its path, for the error.
        key: keys that lead to it, joined by dots; None for the file's whole content.

    Returns:
        Tensors by name, by reference.

    Raises:
        WhichWeights: E0217, naming the tables there are.
    """
    tables = {path_text(path): table for path, table in found.tables.items()}
    wanted = tables.get(key or "")
    if wanted is None:
        raise _refusal(found, tables, where, key)
    return wanted


def _refusal(found: Checkpoint, tables: dict[str, dict[str, Stored]], where: str, key: str | None) -> WhichWeights:
    if tables:
        listed = sorted(tables, key=lambda name: -len(tables[name]))
        names = "; ".join(f"{_named(n)} with {len(tables[n])} tensors" for n in listed[:_SHOWN])
        more = f"; and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
        wrong = "it is a checkpoint with more than weights in it"
        if key is not None:
            wrong = f"it holds no weights under {key!r}"
        first = listed[0]
        mend = f"choose them with `--key {shlex.quote(first)}`" if first else "leave out --key"
        return WhichWeights(where, f"{wrong}; it holds {names}{more}", _beside(mend))
    value = found.said.value
    loose = [str(k) for k, v in value.items() if not isinstance(v, Stored)] if isinstance(value, dict) else []
    if loose and len(loose) < len(value if isinstance(value, dict) else ()):
        return WhichWeights(
            where,
            f"beside its tensors it holds {', '.join(map(repr, loose[:_SHOWN]))}, which are none",
            "save the tensors alone:\n"
            "    import torch\n"
            f'    found = torch.load("{where}", map_location="cpu", weights_only=True)\n'
            '    torch.save({k: v for k, v in found.items() if isinstance(v, torch.Tensor)}, "weights.pt")',
        )
    return WhichWeights(
        where,
        "it holds no table of tensors by name",
        'save the weights: torch.save(model.state_dict(), "weights.pt")',
    )


def _named(name: str) -> str:
    return repr(name) if name else "the whole file"


def _beside(mend: str) -> str:
    return (
        f"{mend}, an option of `robspec check --arch package.module:factory`, and of "
        "`robspec export --arch package.module:factory --weights FILE --input C,H,W model.pt2`"
    )


def path_text(path: tuple[object, ...]) -> str:
    """Join the keys that lead to a table, as `--key` takes them."""
    return ".".join(map(str, path))


def path_code(path: tuple[object, ...]) -> str:
    """The same keys as Python reads them."""
    return "".join(f"[{key!r}]" for key in path)


def tensors(table: dict[str, Stored], storages: dict[str, memoryview], where: str) -> dict[str, Tensor]:
    """Build the tensors of a table from the bytes of their storages.

    Args:
        table: as `choose` returns it.
        storages: of the same file.
        where: its path, for the error.

    Returns:
        Tensors by name, on the CPU; those that share a storage in the file share it here.

    Raises:
        InconsistentArchive: E0212, a tensor reaches outside its storage, or a storage is missing.
    """
    import torch

    made: dict[Storage, Tensor] = {}
    result: dict[str, Tensor] = {}
    for name, stored in table.items():
        storage = stored.storage
        dtype: torch.dtype = getattr(torch, storage.dtype)
        if storage not in made:
            body = storages.get(storage.key, memoryview(b""))
            first, last = storage.start * dtype.itemsize, (storage.start + storage.count) * dtype.itemsize
            if last > len(body):
                strict.wrong(where, f"{name[:80]!r} has a storage of {last} bytes, and the file holds {len(body)}")
            raw = bytearray(body[first:last])
            made[storage] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        shape, strides = stored.shape, stored.strides
        empty = 0 in shape
        reach = 0 if empty else 1 + stored.offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=False))
        if len(shape) != len(strides) or reach > storage.count:
            strict.wrong(where, f"{name[:80]!r} reaches outside its storage")
        result[name] = (
            torch.empty(shape, dtype=dtype)
            if empty
            else made[storage].as_strided(shape, strides, storage_offset=stored.offset)
        )
    return result


def _width(dtype: str) -> int:
    import torch

    kind: torch.dtype = getattr(torch, dtype)
    return kind.itemsize


def _tables(value: object) -> Iterator[tuple[tuple[object, ...], dict[str, Stored]]]:
    """List the dicts that hold tensors by name and nothing else."""
    queue: list[tuple[tuple[object, ...], object]] = [((), value)]
    looked = 0
    for path, item in queue:
        looked += len(item) if isinstance(item, dict | list | tuple) else 0
        if looked > _MOST_ENTRIES:  # one list can be in many places of a pickle
            return
        pairs = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list | tuple) else ()
        inner = list(pairs)
        table = {key: part for key, part in inner if isinstance(key, str) and isinstance(part, Stored)}
        if table and isinstance(item, dict) and len(table) == len(item):
            yield path, table
        if len(path) < _DEPTH:
            queue += [((*path, key), part) for key, part in inner if isinstance(part, dict | list | tuple)]
