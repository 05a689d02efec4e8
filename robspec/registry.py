"""Discovery of plug-in modules: one file in a package is one entry, with no list to edit."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType


def names(package: ModuleType) -> list[str]:
    """List the plug-in module names of a package, sorted, private ones left out, importing none of them.

    Args:
        package: an imported package.

    Returns:
        The names of its direct sub-modules that do not start with an underscore.
    """
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def load(package: ModuleType, name: str) -> ModuleType:
    """Import one plug-in module of a package.

    Args:
        package: an imported package.
        name: a name that `names(package)` lists.

    Returns:
        The module.

    Raises:
        ModuleNotFoundError: no such plug-in.
    """
    return importlib.import_module(f"{package.__name__}.{name}")


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """Import every plug-in module of a package, in name order."""
    for name in names(package):
        yield load(package, name)


def by_operation(package: ModuleType, what: str) -> dict[str, ModuleType]:
    """Find the plug-in module of each operation (in-place underscore removed), by the OPERATIONS that it names.

    Args:
        package: an imported package.
        what: what its modules are, in the plural, for the error.

    Raises:
        RuntimeError: two modules name the same operation.
    """
    found: dict[str, ModuleType] = {}
    for module in modules(package):
        for name in module.OPERATIONS:
            if name in found:
                raise RuntimeError(f"two {what} claim the operation {name}")
            found[name] = module
    return found
