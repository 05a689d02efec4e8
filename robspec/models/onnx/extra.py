"""The packages of the `onnx` extra, or one error that names it."""

from __future__ import annotations

import importlib
from typing import Any

from robspec.errors import MissingExtra


def package(name: str, where: str) -> Any:
    """Import a package of the extra.

    Args:
        name: such as "onnx".
        where: the file it is needed for.

    Returns:
        The module.

    Raises:
        MissingExtra: E0870, it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in (name, "google", "ml_dtypes", "flatbuffers"):
            raise
        raise MissingExtra(
            where, f"an ONNX file needs {error.name}, which is not installed", "pip install 'robspec[onnx]'"
        ) from error
