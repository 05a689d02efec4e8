"""A module that is imported when it is first used: cvxpy takes two seconds."""

from __future__ import annotations

import importlib
from typing import Any

from robspec import extras


class LazyModule:
    """Stands for a module until an attribute of it is asked for.

    Args:
        name: the module's.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        extras.require("oracle", self._name)
        return getattr(importlib.import_module(self._name), attribute)
