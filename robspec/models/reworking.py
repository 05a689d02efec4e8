"""One part of a model file as an archive of its own."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from robspec.errors import RobspecError
from robspec.models.choice import Choice
from robspec.models.errors import BareWeights
from robspec.models.inspect import Kind, read_file, recognise
from robspec.models.loading import LoadedModel, load
from robspec.models.sanitise import clean_archive


@dataclass(frozen=True, slots=True)
class Reworked:
    """An archive, and how it was made.

    Args:
        archive: its bytes.
        images: the shape of one image.
        logits: the shape of its logits.
        batch: how many images it takes at once.
        remarks: how it was verified.
    """

    archive: bytes
    images: str
    logits: str
    batch: str
    remarks: tuple[str, ...]


def rework(path: Path, choice: Choice, batch_max: int = 64) -> Reworked:
    """Make an archive of one function of an image, and load it as a check does.

    Args:
        path: an ONNX file, or an archive.
        choice: its output, input and size.
        batch_max: largest batch, of an ONNX file.

    Returns:
        The archive.

    Raises:
        RobspecError: the file is refused, or `check` would refuse the archive.
    """
    where = str(path)
    blob = read_file(path)
    kind = recognise(blob, where)
    remarks: tuple[str, ...] = ()
    if kind is Kind.ONNX:
        from robspec.models.onnx.convert import import_onnx

        imported = import_onnx(blob, path, choice, None, batch_max)
        archive = imported.archive
        why = f"batches of 1 only: {imported.fixed_batch}" if imported.batch_max == 1 and batch_max > 1 else ""
        remarks = tuple(line for line in (imported.described(), why) if line)
    elif kind is Kind.EXPORTED:
        archive = clean_archive(blob, where, choice)
    else:
        raise BareWeights(
            where, f"the file holds {kind.value}, without the network they belong to", "use `robspec export --arch`"
        )
    loaded = _accepted(archive, where)
    return Reworked(
        archive,
        " x ".join(map(str, loaded.input_shape)),
        " x ".join(map(str, loaded.output_shape)),
        f"batches of {loaded.batch}",
        remarks,
    )


def _accepted(archive: bytes, where: str) -> LoadedModel:
    with tempfile.TemporaryDirectory(prefix="robspec-import-") as folder:
        path = Path(folder) / "model.pt2"
        path.write_bytes(archive)
        try:
            return load(path)
        except RobspecError as error:
            raise type(error)(where, f"nothing was written: {error.what}", error.mend) from error
