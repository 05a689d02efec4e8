"""A torch.export archive taken apart, every part checked: the only thing that is ever loaded."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from typing import Any

from robspec.models import graph, strict, tensors
from robspec.models.choice import WHOLE, Choice
from robspec.models.pickles import holds_only_tensors
from robspec.models.records import ZIP_MAGIC, read_records

_MODEL = "models/model.json"
_WEIGHTS = "data/weights/"
_CONSTANTS = "data/constants/"
_SAMPLES = "data/sample_inputs/model.pt"
_PASSED_OVER = (".data/", "extra/", "byteorder", "archive_format", "archive_version", _SAMPLES, _MODEL)


@dataclass(frozen=True, eq=False)
class Checked:
    """The parts of an archive that passed.

    Args:
        program: one program of plain names, integers and allowed operators.
        weights: the table of stored weights and buffers.
        constants: the table of stored constants.
        records: the bytes that both tables speak of, by full name.
    """

    program: dict[str, Any]
    weights: dict[str, Any]
    constants: dict[str, Any]
    records: dict[str, bytes]

    def stored(self) -> tuple[tuple[str, dict[str, Any], str], ...]:
        """List each table's folder, the table, and the name it has in an archive."""
        return (
            (_WEIGHTS, self.weights, "model_weights_config.json"),
            (_CONSTANTS, self.constants, "model_constants_config.json"),
        )

    def identity(self) -> str:
        """Hash the whole function: its graph and every stored value."""
        parts = [self.program, self.weights, self.constants]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
        for folder, config, _ in self.stored():
            for used in sorted({entry["path_name"] for entry in config["config"].values()}):
                digest.update(f"\0{folder}{used} {len(self.records[folder + used])}\0".encode())
                digest.update(self.records[folder + used])
        return digest.hexdigest()

    def written(self) -> bytes:
        """Write an archive for torch's own loader."""
        from torch.export.pt2_archive._package import PT2ArchiveWriter

        buffer = io.BytesIO()
        with PT2ArchiveWriter(buffer) as archive:
            for folder, config, file in self.stored():
                for used in sorted({entry["path_name"] for entry in config["config"].values()}):
                    archive.write_bytes(folder + used, self.records[folder + used])
                archive.write_string(folder + file, json.dumps(config))
            archive.write_string(_MODEL, json.dumps(self.program))
            archive.write_bytes(_SAMPLES, b"")
        return buffer.getvalue()


def clean_archive(
    blob: bytes, where: str, choice: Choice = WHOLE, shape: tuple[int, int, int] | None = None
) -> bytes:
    """Check a torch.export archive and write it anew from the parts that passed; see `check_archive`."""
    return check_archive(blob, where, choice, shape).written()


def check_archive(
    blob: bytes, where: str, choice: Choice = WHOLE, shape: tuple[int, int, int] | None = None
) -> Checked:
    """Check every part of a torch.export archive.

    Args:
        blob: the file's bytes.
        where: the file, for the error.
        choice: which of several outputs is meant.
        shape: C, H, W, where the archive leaves sides of its images free and `choice` does not say; or None.

    Returns:
        Plain tensors and one checked program, with no sample input, no custom object, no compiled code and no text
        that torch would evaluate.

    Raises:
        RobspecError: E0203, E0207, E0208, E0209, E0210, E0212 or E0225.

    Source:
        torch 2.13.0, torch/export/pt2_archive/_package.py and torch/_export/serde/serialize.py; what each
        of their steps would do is listed in docs/explanation/model-files.md.
    """
    records = read_records(blob, where)
    for name in records:
        _check_place(name, where)
    if records.get("byteorder", b"little") != b"little":
        strict.wrong(where, "its tensors are big-endian")
    if records.get("archive_version") != b"0":
        strict.wrong(where, "its archive version is not 0")
    if _MODEL not in records:
        strict.wrong(where, f"it holds no {_MODEL}")
    _check_samples(records.get(_SAMPLES, b""), f"{where}: {_SAMPLES}")
    at = f"{where}: {_MODEL}"
    checked = graph.program(strict.parse(records[_MODEL], at), at, choice, shape)
    weights = _table(records, _WEIGHTS, "model_weights_config.json", where)
    constants = _table(records, _CONSTANTS, "model_constants_config.json", where)
    _check_targets(checked, weights, constants, where)
    return Checked(checked, weights, constants, records)


def _check_place(name: str, where: str) -> None:
    if name.startswith("data/aotinductor/"):
        strict.unsafe(f"{where}: {name}", "it carries a compiled library, which loading would run")
    if name.startswith((_WEIGHTS, _CONSTANTS)):
        part = name.rpartition("/")[2]
        if part.endswith(".pt"):
            strict.unsafe(f"{where}: {name}", "weights or constants in the old layout are a pickle")
        if part.startswith(("custom_obj", "opaque_obj")):
            strict.unsafe(f"{where}: {name}", "a custom object is a pickle, and reading it would run its code")
    elif not name.startswith(_PASSED_OVER):
        if name.startswith("models/"):
            strict.wrong(f"{where}: {name}", "it holds a second model")
        strict.unsafe(f"{where}: {name[:120]}", "a torch.export archive of one plain model has no such record")


def _check_samples(blob: bytes, where: str) -> None:
    """Sample inputs are pickled by torch and never passed on; one that is more than tensors is an attack."""
    if not blob:
        return
    if not blob.startswith(ZIP_MAGIC):
        strict.unsafe(where, "the sample inputs are a bare pickle")
    pickles = [v for k, v in read_records(blob, where).items() if k.endswith(".pkl")]
    if not pickles or not all(holds_only_tensors(p) for p in pickles):
        strict.unsafe(where, "the sample inputs hold a pickle of more than tensors")


def _table(records: dict[str, bytes], folder: str, config: str, where: str) -> dict[str, Any]:
    at = f"{where}: {folder}{config}"
    if folder + config not in records:
        strict.wrong(at, "the table of stored tensors is missing")
    sizes = {k[len(folder) :]: len(v) for k, v in records.items() if k.startswith(folder)}
    return tensors.payloads(strict.parse(records[folder + config], at), sizes, at)


def _check_targets(program: dict[str, Any], weights: dict[str, Any], constants: dict[str, Any], where: str) -> None:
    """Every parameter, buffer and constant that the signature names must be stored."""
    stored, constant = weights["config"], constants["config"]
    for spec in program["graph_module"]["signature"]["input_specs"]:
        if "parameter" in spec and spec["parameter"]["parameter_name"] not in stored:
            strict.wrong(where, f"the parameter {spec['parameter']['parameter_name']} is not stored")
        held = stored if spec.get("buffer", {}).get("persistent", True) else constant
        if "buffer" in spec and spec["buffer"]["buffer_name"] not in held:
            strict.wrong(where, f"the buffer {spec['buffer']['buffer_name']} is not stored")
        if "tensor_constant" in spec and spec["tensor_constant"]["tensor_constant_name"] not in constant:
            strict.wrong(where, f"the constant {spec['tensor_constant']['tensor_constant_name']} is not stored")
