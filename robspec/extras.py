"""The optional parts of robspec: which packages each needs, and one error where they are missing."""

from __future__ import annotations

import importlib.util
from typing import Final

from robspec.errors import MissingExtra

EXTRAS: Final[dict[str, tuple[str, ...]]] = {
    "gpu": ("triton",),
    "oracle": ("cvxpy",),
    "train": ("orthogonium",),
    "coco": ("pycocotools",),
    "lsp": ("pygls",),
    "onnx": ("onnx", "onnxruntime"),
    "torchmetrics": ("torchmetrics",),
    "explain": ("captum",),
    "private": ("dp_accounting",),
    "plots": ("matplotlib", "sklearn"),
    "cluster": ("ray",),
}
"""Extra and the modules it brings."""


def missing(extra: str) -> tuple[str, ...]:
    """The modules of an extra that cannot be found, without importing any."""
    return tuple(name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None)


def require(extra: str, what: str) -> None:
    """Make sure that an extra is installed.

    Args:
        extra: its name.
        what: the option or command that needs it.

    Raises:
        MissingExtra: E0870, naming the extra.
    """
    absent = missing(extra)
    if absent:
        raise MissingExtra(
            what, f"it needs {' and '.join(absent)}, which is not installed", f"pip install 'robspec[{extra}]'"
        )
