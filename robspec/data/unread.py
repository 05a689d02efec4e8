"""Images of a data set that another process decodes, by the code that decodes them everywhere."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

from robspec.data import content
from robspec.data.dataset import Arrays, Batch, Dataset
from robspec.errors import RobspecError, SoundnessAlarm


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read of a batch.

    Args:
        contents: of each image, `content.digest` of its pixels.
        files: sha256 of the bytes that were decoded, by name.
    """

    contents: tuple[str, ...]
    files: Mapping[str, str]


class Unread(Batch):
    """A batch that is decoded here only when its images are asked for.

    Args:
        part: the data set of these images alone.
    """

    def __init__(self, part: Dataset) -> None:
        self._part, self._held = part, b""

    @property
    def names(self) -> tuple[str, ...]:
        """See `Arrays`."""
        return tuple(p.name for p in self._part.pairs)

    @cached_property
    def arrays(self) -> Arrays:  # type: ignore[override]
        """The batch, decoded and checked.

        Raises:
            RobspecError: E0304 to E0317, naming the file.
        """
        return next(self._part.batches(len(self._part))).arrays

    @property
    def read(self) -> bool:
        """Whether it has been read here."""
        return "arrays" in self.__dict__

    @property
    def told(self) -> bytes:
        """What another process has to know to decode it: of this machine, unless its files are held."""
        return self._held or _told(self._part)

    def hold(self) -> None:
        """Read its files without decoding them, so that whoever is told of it needs none.

        What is certified is then what lay here, whatever lies elsewhere under the same path.

        Raises:
            RobspecError: what decoding it here raises first, where a file cannot be read.
        """
        try:
            self._held = _told(self._part.held())
        except RobspecError:
            self.arrays  # noqa: B018 - another file may be wrong in another way, and before

    def take(self, seen: Seen) -> None:
        """Keep what another process read, as if it had been read here.

        Raises:
            FileChanged: E0312, a file was read before, and was another.
            SoundnessAlarm: E0901, that is about other files.
        """
        part = self._part
        if not set(seen.files) <= part.paths.keys() or len(seen.contents) != len(part):
            raise SoundnessAlarm("--workers", "a worker has read other files than it was asked for", "report it")
        for name, digest in seen.files.items():
            part.same(name, bytes.fromhex(digest), name)


def _told(part: Dataset) -> bytes:
    headers = {p.name: part.headers[p.name] for p in part.pairs}
    seen = {name: part.seen[name] for name in part.paths if name in part.seen}
    return pickle.dumps(replace(part, tables=(), noted=(), headers=headers, seen=seen))


def portable(data: object) -> bool:
    """Whether other processes can read a data set: images and masks in files, and no objects."""
    if not isinstance(data, Dataset):
        return False
    return not data.data.objects and all(p.drawn is None for p in data.pairs)


def batches(data: Dataset, size: int) -> Iterator[Unread]:
    """The batches that `Dataset.batches` streams, none of them read."""
    for start in range(0, len(data), size):
        yield Unread(data.only(range(start, min(start + size, len(data)))))


def read(told: bytes) -> tuple[Batch, Seen]:
    """Decode a batch.

    Args:
        told: `Unread.told`, from the process that has opened the data set.

    Raises:
        RobspecError: E0304 to E0317, naming the file.
    """
    part = cast("Dataset", pickle.loads(told))  # noqa: S301
    batch = next(part.batches(len(part)))
    contents = tuple(content.digest(image) for image in batch.arrays.images)
    return batch, Seen(contents, {name: digest.hex() for name, digest in part.seen.items()})
