"""What there is to work with: versions, backends, extras, decoders, caches."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import platformdirs
from PIL import features

import robspec
from robspec import extras
from robspec.kernels.knapsack import backends

_CORE = ("torch", "numpy", "numba", "pillow", "lark", "sympy", "click", "rich")
_KEPT = (
    ("store.sqlite", "logits, and what attacks tried"),
    ("lipschitz", "finished proofs"),
    ("opened", "what is known of models that were opened"),
    ("shapes", "models whose shapes were compared"),
    ("kernels", "compiled kernels"),
)
"""Names in the user's cache."""
_PACKAGES = {"sklearn": "scikit-learn"}


def lines() -> Iterator[str]:
    """Say what there is, a line each; a reason beside what is not."""
    yield f"robspec {robspec.__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}"
    yield f"processors: {os.cpu_count()}; executable: {sys.executable}"
    yield ""
    yield "core"
    for name in _CORE:
        yield f"  {name} {version(name) or 'is missing: pip install robspec'}"
    yield ""
    yield "backends"
    for name, backend in backends().items():
        reason = backend.unavailable()
        yield f"  {name}: {'available' if reason is None else f'not available: {reason}'}"
    yield ""
    yield "extras"
    for name, modules in extras.EXTRAS.items():
        absent = extras.missing(name)
        if absent:
            yield f"  {name}: not installed ({', '.join(absent)}): pip install 'robspec[{name}]'"
        else:
            said = ", ".join(f"{m} {version(_PACKAGES.get(m, m)) or 'of unknown version'}" for m in modules)
            yield f"  {name}: {said}"
    yield ""
    yield "image formats"
    for feature, said in (("jpg", "JPEG"), ("zlib", "PNG"), ("webp", "WebP"), ("libtiff", "compressed TIFF")):
        yield f"  {said}: {'read' if features.check(feature) else 'not read: this Pillow was built without it'}"
    yield ""
    yield "caches, safe to delete (`robspec cache`)"
    root = Path(platformdirs.user_cache_dir("robspec"))
    for name, what in _KEPT:
        count, size = measured(root / name)
        yield f"  {root / name}: {what}, {count} files, {size / (1 << 20):.1f} MiB"


def version(package: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def measured(folder: Path) -> tuple[int, int]:
    """How many files lie below a folder, or are it, and their bytes; links are not followed."""
    count = size = 0
    if folder.is_file():
        return 1, folder.stat().st_size
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(Path(place) / name).st_size
                count += 1
            except OSError:
                continue
    return count, size
