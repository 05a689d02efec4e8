"""Weights that an ONNX model keeps in files beside it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NoReturn

from robspec.models.inspect import MAX_BYTES
from robspec.models.onnx.errors import UnsafeOnnx

_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)


class Beside:
    """The files of one model's folder that it takes weights from; each is read once.

    Args:
        path: the model.
        blob: its bytes.
    """

    def __init__(self, path: Path, blob: bytes) -> None:
        self.path = path
        self._own = hashlib.sha256(blob).hexdigest()
        self._files: dict[str, bytes] = {}

    def part(self, told: Mapping[str, str], length: int, name: str) -> bytes:
        """Read the bytes of one tensor.

        Args:
            told: location, offset and length, as the model states them.
            length: what its shape asks for, in bytes.
            name: of the tensor, for errors.

        Raises:
            UnsafeOnnx: E0221, the file is elsewhere, a link, too short, or another length is stated.
        """
        location = told.get("location", "")
        if location not in self._files:
            self._files[location] = self._whole(location, name)
        numbers = [told.get(key, default) for key, default in (("offset", "0"), ("length", str(length)))]
        if not all(_NUMBER.fullmatch(number) for number in numbers):
            self._refuse(f"the offset or length of the tensor {name} is no number")
        offset, stated = int(numbers[0]), int(numbers[1])
        held = self._files[location]
        if stated != length or offset + length > len(held):
            self._refuse(f"the tensor {name} needs {length} bytes from {offset} on, which its file does not hold")
        return held[offset : offset + length]

    def digest(self) -> str:
        """SHA-256 of the model's bytes; with weights beside it, of the digests of all of them."""
        if not self._files:
            return self._own
        whole = hashlib.sha256(self._own.encode())
        for location in sorted(self._files):
            whole.update(f"\n{hashlib.sha256(self._files[location]).hexdigest()} {location}".encode())
        return whole.hexdigest()

    def _whole(self, location: str, name: str) -> bytes:
        parts = PurePosixPath(location).parts
        if not parts or not location.isprintable() or "\\" in location or ":" in location:
            self._refuse(f"the tensor {name} lies in a file called {location[:60]!a}")
        if location.startswith("/") or ".." in parts:
            self._refuse(f"the tensor {name} lies outside the model's folder, in {location[:60]!a}")
        folder = self.path.parent
        place = folder.joinpath(*parts)
        steps = [folder.joinpath(*parts[: i + 1]) for i in range(len(parts))]
        if any(step.is_symlink() for step in steps):
            self._refuse(f"the file {location[:60]!a} of the tensor {name} is reached through a link")
        if not place.is_file():
            self._refuse(f"the weights' file {location[:60]!a} is missing", "put it into the folder of the model")
        left = MAX_BYTES - sum(map(len, self._files.values()))
        with place.open("rb") as file:
            content = file.read(left + 1)
        if len(content) > left:
            self._refuse(f"its weights are larger than {MAX_BYTES >> 30} GiB")
        return content

    def _refuse(self, what: str, mend: str = "write the file again with the exporter it came from") -> NoReturn:
        raise UnsafeOnnx(str(self.path), what, mend)
