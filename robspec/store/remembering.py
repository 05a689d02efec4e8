"""A model that remembers the logits it has computed, batch by batch."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Protocol

import numpy as np
import torch

from robspec.store.database import Store

LARGEST = 1 << 26
"""Bytes of logits of one batch beyond which nothing is kept: reading them back would not be much faster."""


_KEPT = (torch.float16, torch.float32, torch.float64)


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

    def logits(self, images: torch.Tensor) -> torch.Tensor:
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
    """

    def __init__(self, model: Model, store: Store, identity: dict[str, str]) -> None:
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

    def logits(self, images: torch.Tensor) -> torch.Tensor:
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

    def recall(self, images: torch.Tensor) -> torch.Tensor | None:
        """Read the logits of a batch, [B, K, H, W]; None where they are not known."""
        known = _read(self._store.get(self._key(images)))
        if known is None or known.shape[0] != images.shape[0]:
            return None
        self.hits += 1
        return known

    def keep(self, images: torch.Tensor, found: torch.Tensor) -> None:
        """Write the logits of a batch that the model computed, unless they are too large or not finite."""
        if worth_keeping(found):
            self._store.put(self._key(images), "logits", _written(found))

    def _key(self, images: torch.Tensor) -> bytes:
        pixels = images.detach().cpu().contiguous()
        digest = hashlib.sha256(self._identity)
        digest.update(f"\0{pixels.dtype} {list(pixels.shape)}\0".encode())
        digest.update(pixels.view(torch.uint8).numpy().data)
        return digest.digest()


def worth_keeping(found: torch.Tensor) -> bool:
    """Whether `keep` writes the logits of a batch."""
    small = found.device.type == "cpu" and found.dtype in _KEPT and found.nbytes <= LARGEST
    return small and bool(torch.isfinite(found).all())


def _written(logits: torch.Tensor) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, logits.detach().contiguous().numpy(), allow_pickle=False)
    return out.getvalue()


def _read(value: bytes | None) -> torch.Tensor | None:
    """The array that was written; its digest has been compared."""
    if value is None:
        return None
    try:
        found = np.lib.format.read_array(io.BytesIO(value), allow_pickle=False)
        return torch.from_numpy(found)
    except (ValueError, TypeError, EOFError):
        return None
