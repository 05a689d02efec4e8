"""What a file is, decided by its content alone and before any of it is loaded."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path

from robspec.models import checkpoint
from robspec.models.checkpoint import Checkpoint, path_code
from robspec.models.errors import (
    ModelNotFound,
    ModelTooLarge,
    NotAModel,
    PickledModel,
    TorchScriptModel,
)
from robspec.models.pickles import Named, UnsoundPickle
from robspec.models.records import ZIP_MAGIC, read_records, record_names
from robspec.models.safetensors import looks_like_safetensors

MAX_BYTES = 4 << 30
_EXPORT = (
    "`robspec export --arch package.module:factory --weights weights.pt --input C,H,W model.pt2`, "
    "C,H,W being the shape of one image: channels, height, width"
)
_REEXPORT = (
    "where you trust the file, run:\n"
    "    import torch\n"
    '    model = torch.load("{name}", weights_only=False).eval()\n'
    "    images = torch.zeros(2, C, H, W)  # put in the shape of one image: channels, height, width\n"
    '    batch = {{0: torch.export.Dim("batch", min=1, max=64)}}\n'
    "    with torch.no_grad():\n"
    "        program = torch.export.export(model, (images,), dynamic_shapes=(batch,))\n"
    '    torch.export.save(program, "model.pt2")'
)
_RESAVE = (
    "where you trust the file, save its weights alone, and give these:\n"
    "    import torch\n"
    '    found = torch.load("{name}", map_location="cpu", weights_only=False)\n'
    '    torch.save(found{keys}, "weights.pt")'
)
_AFTER_VERSION = frozenset(b"\x12\x1a\x22\x28\x32\x3a\x42")
"""Tags of the fields that follow the version in an ONNX model, in the order in which every writer writes them."""
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_RESCRIPT = (
    "save its weights and export the original module:\n"
    "    import torch\n"
    '    torch.save(torch.jit.load("{name}").state_dict(), "weights.pt")\n'
    "    # then, C,H,W being the shape of one image: channels, height, width:\n"
    "    # robspec export --arch package.module:factory --weights weights.pt --input C,H,W model.pt2"
)


class Kind(enum.Enum):
    """The kinds of file that can be loaded."""

    EXPORTED = "torch.export archive"
    STATE_DICT = "weights saved by torch.save"
    OLD_STATE_DICT = "weights saved by torch.save in its format of before version 1.6"
    SAFETENSORS = "weights in safetensors"
    ONNX = "ONNX model"


def read_file(path: Path) -> bytes:
    """Read a model file once; hash and content come from these same bytes.

    Args:
        path: the file.

    Returns:
        Its bytes.

    Raises:
        ModelNotFound: E0201, missing, a directory, or not readable.
        ModelTooLarge: E0210.
    """
    if path.is_dir():
        raise ModelNotFound(str(path), "it is a directory, not a model file", f"write one with {_EXPORT}")
    try:
        with path.open("rb") as file:
            blob = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelNotFound(str(path), f"it cannot be opened: {error.strerror or error}", "check the path") from error
    if len(blob) > MAX_BYTES:
        raise ModelTooLarge(str(path), f"the file is larger than {MAX_BYTES >> 30} GiB", "check its origin")
    return blob


def recognise(blob: bytes, where: str) -> Kind:
    """Decide what a file is; a kind that would run code when loaded is refused here.

    Args:
        blob: the file's bytes.
        where: the file, for the error.

    Returns:
        The kind.

    Raises:
        NotAModel: E0202.
        DamagedModel: E0203.
        PickledModel: E0204.
        TorchScriptModel: E0205.
        UnsafeArchive: E0207, a container that is itself a trap.
    """
    if not blob:
        raise NotAModel(where, "the file is empty", f"write a model with {_EXPORT}")
    if blob.startswith(ZIP_MAGIC):
        return _archive(blob, where)
    if blob[:2] in _PICKLES:
        return _pickle(blob, where)
    if blob[257:262] == b"ustar":
        raise PickledModel(
            where,
            "the file is a tar archive; torch wrote weights so before 2017, and reads them by unpickling alone",
            _RESAVE.format(name=Path(where).name, keys=""),
        )
    if looks_like_safetensors(blob):
        return Kind.SAFETENSORS
    if _looks_like_onnx(blob):
        return Kind.ONNX
    if b"\0" not in blob[:4096] and blob[:4096].decode("utf-8", "ignore").strip():
        raise NotAModel(where, "the file is text", f"give a model written with {_EXPORT}")
    raise NotAModel(where, "its content is of no known kind", f"write a model with {_EXPORT}")


def _looks_like_onnx(blob: bytes) -> bool:
    """Tell by the first field, the version of the format, and by the tag of the next."""
    return len(blob) > 8 and blob[0] == 0x08 and 3 <= blob[1] < 64 and blob[2] in _AFTER_VERSION


def _archive(blob: bytes, where: str) -> Kind:
    names = record_names(blob, where)
    if "constants.pkl" in names or any(n.startswith("code/") for n in names):
        raise TorchScriptModel(where, "the file is a TorchScript archive", _RESCRIPT.format(name=Path(where).name))
    old = {"serialized_exported_program.json", "serialized_state_dict.pt"}
    if old & names:
        raise PickledModel(
            where,
            "the archive is of the old torch.export layout, whose tensors are pickles",
            f"use {_EXPORT}",
        )
    if any(names) and all(n.endswith(".npy") for n in names if n):
        raise NotAModel(where, "the file holds arrays of NumPy", "save weights with torch.save or as safetensors")
    records = read_records(blob, where)
    if records.get("archive_format") == b"pt2":
        return Kind.EXPORTED
    if "data.pkl" in names:
        return _weights(lambda: checkpoint.from_zip(blob, where), Kind.STATE_DICT, where)
    raise NotAModel(where, "the file is a zip archive of something else", f"write a model with {_EXPORT}")


def _pickle(blob: bytes, where: str) -> Kind:
    if checkpoint.is_old(blob):
        return _weights(lambda: checkpoint.from_old(blob, where), Kind.OLD_STATE_DICT, where)
    raise PickledModel(
        where,
        "the file is a bare pickle, not written by torch.save; reading it would run its code, so it was not read",
        _REEXPORT.format(name=Path(where).name)
        .replace(
            f'torch.load("{Path(where).name}", weights_only=False)',
            f'pickle.load(open("{Path(where).name}", "rb"))',
        )
        .replace("import torch", "import pickle, torch"),
    )


def _weights(read: Callable[[], Checkpoint], kind: Kind, where: str) -> Kind:
    """Take a file of torch.save whose pickle makes tensors, containers and settings alone.

    Raises:
        PickledModel: E0204, with what to do about a module and about a checkpoint.
    """
    name = Path(where).name
    try:
        found = read()
    except UnsoundPickle as error:
        raise PickledModel(
            where,
            f"its pickle is not one that torch.save writes of weights ({str(error)[:120]}), so it was not read",
            _REEXPORT.format(name=name),
        ) from error
    foreign = found.said.foreign(settings=True)
    if not foreign:
        return kind
    tables = found.tables
    if not tables or isinstance(found.said.value, Named):
        raise PickledModel(
            where,
            "the file is a pickled object; reading it would run its code, so it was not read",
            _REEXPORT.format(name=name),
        )
    largest = max(tables, key=lambda path: len(tables[path]))
    raise PickledModel(
        where,
        f"beside its weights the file holds objects ({', '.join(_plain(f) for f in foreign[:3])}"
        f"{' and others' if len(foreign) > 3 else ''}); reading them would run their code, so it was not read",
        _RESAVE.format(name=name, keys=path_code(largest)),
    )


def _plain(name: str) -> str:
    return ascii(name.replace(" ", "."))[1:-1][:80]
