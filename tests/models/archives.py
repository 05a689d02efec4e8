"""Small models, hostile archives, and a bomb that leaves a trace if anything runs it."""

from __future__ import annotations

import io
import json
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
KVASIR = ROOT.parent / "shared" / "data" / "kvasir"


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.trace}",))


class Small(nn.Module):
    """Images [B, 3, 8, 8] to logits [B, 2, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Conv2d(2, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Convolve, sort pairs, convolve."""
        a, b = self.norm(self.first(image)).split(2, 1)
        logits: torch.Tensor = self.last(torch.max(a, b)) + self.last(torch.min(a, b))
        return logits


def small() -> Small:
    """A small module whose weights are the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Small().eval()


def exported(module: nn.Module, *, batch: int | None = None, shape: tuple[int, ...] = (3, 8, 8)) -> bytes:
    """What torch.export.save writes; with a dynamic batch unless one is given."""
    images = torch.zeros((batch or 2, *shape), dtype=next(module.parameters()).dtype)
    dynamic = None if batch else ({0: torch.export.Dim("batch", min=1, max=64)},)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module, (images,), dynamic_shapes=dynamic), buffer)
    return buffer.getvalue()


def records(archive: bytes) -> dict[str, bytes]:
    """The records of an archive, by full name."""
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        return {name: source.read(name) for name in source.namelist()}


def packed(content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of records."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as target:
        for name, data in content.items():
            target.writestr(name, data)
    return buffer.getvalue()


def changed(archive: bytes, ending: str, change: Callable[[Any], None]) -> bytes:
    """An archive with one JSON record altered in place."""
    content = records(archive)
    name = next(n for n in content if n.endswith(ending))
    parsed = json.loads(content[name])
    change(parsed)
    content[name] = json.dumps(parsed).encode()
    return packed(content)
