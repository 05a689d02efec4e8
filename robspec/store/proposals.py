"""Images that an attack tried, kept so that a stopped one goes on where it was."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from robspec.store.database import Store

LARGEST = 1 << 26
"""Bytes of the images of one search beyond which they are not kept."""


class Proposals:
    """Searches that are not done twice.

    Nothing rests on what is read back: images that an attack proposes are measured and judged anew each time.

    Args:
        store: keeps them.
        identity: all that decides a search besides what `tried` is told.
    """

    def __init__(self, store: Store, identity: dict[str, str]) -> None:
        self._store = store
        self._identity = json.dumps(identity, sort_keys=True).encode()
        self.hits = 0

    def tried(
        self,
        about: str,
        tensors: Iterable[torch.Tensor | None],
        search: Callable[[], Iterable[torch.Tensor]],
        ended: Callable[[], bool],
    ) -> Iterator[torch.Tensor]:
        """Search, or read what the same search tried before.

        Args:
            about: what is searched for, and how hard.
            tensors: the images it starts from, and their annotation.
            search: gives images, all of the shape of the first tensor.
            ended: whether it was cut short, so that it would try more another time.

        Yields:
            What `search` gives.
        """
        key = self._key(about, tensors)
        known = _read(self._store.get(key))
        if known is not None:
            self.hits += 1
            yield from known
            return
        made, size = [], 0
        for images in search():
            size += images.nbytes
            if size <= LARGEST:
                made.append(images.detach().clone())
            yield images
        if size <= LARGEST and not ended():
            self._store.put(key, "attacks", _written(made))

    def _key(self, about: str, tensors: Iterable[torch.Tensor | None]) -> bytes:
        digest = hashlib.sha256(self._identity)
        digest.update(f"\0attack {about}\0".encode())
        for tensor in tensors:
            if tensor is None:
                digest.update(b"\0none")
                continue
            held = tensor.detach().cpu().contiguous()
            digest.update(f"\0{held.dtype} {list(held.shape)}\0".encode())
            digest.update(held.view(-1).view(torch.uint8).numpy().data)
        return digest.digest()


def _written(images: list[torch.Tensor]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.array([len(images)]), allow_pickle=False)
    for tried in images:
        np.lib.format.write_array(out, tried.contiguous().numpy(), allow_pickle=False)
    return out.getvalue()


def _read(value: bytes | None) -> list[torch.Tensor] | None:
    """The images that were written; their digest has been compared."""
    if value is None:
        return None
    read = io.BytesIO(value)
    try:
        (count,) = np.lib.format.read_array(read, allow_pickle=False).tolist()
        return [torch.from_numpy(np.lib.format.read_array(read, allow_pickle=False)) for _ in range(count)]
    except (ValueError, TypeError, EOFError):
        return None
