"""A model that remembers the logits it has computed, batch by batch."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from robspec import arrays
from robspec.arrays import Array
from robspec.store.database import Store

LARGEST = 1 << 26
"""Bytes of logits of one batch beyond which nothing is kept: reading them back would not be much faster."""


_KEPT = ("float16", "float32", "float64")


class Model(Protocol):
    """What is remembered for."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        ...

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of the logits of one image."""
        ...

    def logits(self, images: Array) -> Array:
        """Compute logits."""
        ...


class Remembering:
    """Answers as the model does, from the store where it has been asked before.

    A batch is looked up by every bit of its pixels and by whatever decides the logits: so nothing has to be
    invalidated. What float32 makes of an image can depend on the batch it is in; batches are therefore kept whole.

    Args:
        model: computes what is not known.
        store: keeps it.
        identity: all that decides the logits besides the pixels: model, normalisation, types, versions, threads.
        plain: whether images come, and what is remembered goes, as numpy arrays, so that torch need not be imported.
    """

    def __init__(self, model: Model, store: Store, identity: dict[str, str], *, plain: bool = False) -> None:
        self.plain = plain
        self._model, self._store = model, store
        self._identity = json.dumps(identity, sort_keys=True).encode()
        self.hits = 0

    @property
    def input_shape(self) -> tuple[int, ...]:
        """See `Model`."""
        return self._model.input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """See `Model`."""
        return self._model.output_shape

    def logits(self, images: Array) -> Array:
        """Compute logits, or read them.

        Args:
            images: [B, C, H, W].

        Returns:
            What the model returned for exactly these images in this order, or returns now.
        """
        known = self.recall(images)
        if known is not None:
            return known
        found = self._model.logits(images)
        self.keep(images, found)
        return found

    def recall(self, images: Array) -> Array | None:
        """Read the logits of a batch, [B, K, H, W]; None where they are not known."""
        known = _read(self._store.get(self.key(images)))
        if known is None or known.shape[0] != images.shape[0]:
            return None
        self.hits += 1
        return known if self.plain else arrays.tensor(known)

    def keep(self, images: Array, found: Array) -> None:
        """Write the logits of a batch that the model computed, unless they are too large or not finite."""
        self.keep_under(self.key(images), found)

    def keep_under(self, key: bytes, found: Array) -> None:
        """The same of a batch whose pixels are elsewhere.

        Args:
            key: as `key` gives it where they are.
            found: [B, K, H, W].
        """
        if worth_keeping(found):
            self._store.put(key, "logits", _written(arrays.host(found)))

    def key(self, images: Array) -> bytes:
        """Hash a batch, by every bit of its pixels, and all that decides the logits besides."""
        pixels = np.ascontiguousarray(arrays.host(images))
        digest = hashlib.sha256(self._identity)
        digest.update(f"\0{pixels.dtype} {list(pixels.shape)}\0".encode())
        digest.update(pixels.view(np.uint8).data)
        return digest.digest()


def worth_keeping(found: Array) -> bool:
    """Whether `keep` writes the logits of a batch."""
    where = found.device if isinstance(found, np.ndarray) else found.device.type
    small = where == "cpu" and arrays.kind(found) in _KEPT and found.nbytes <= LARGEST
    return small and bool(np.isfinite(arrays.host(found)).all())


def _written(logits: npt.NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(logits), allow_pickle=False)
    return out.getvalue()


def _read(value: bytes | None) -> npt.NDArray[Any] | None:
    """The array that was written; its digest has been compared."""
    if value is None:
        return None
    try:
        found: npt.NDArray[Any] = np.lib.format.read_array(io.BytesIO(value), allow_pickle=False)
        return found
    except (ValueError, TypeError, EOFError):
        return None
