"""Searches for images that do worse, one file each: a module `<name>.py` holds a `METHOD`.

A method proposes images and decides nothing: what it returns is rounded into the ball, stored, read back, measured
and evaluated by `robspec.verify.attack`. docs/explanation/attacks.md says which is for what.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from robspec import registry

if TYPE_CHECKING:
    from robspec.verify.attacks._hunt import Method

DEFAULT = "pgd"


def names() -> list[str]:
    """List the methods, as `--attack-method` takes them: their files, with hyphens."""
    return [name.replace("_", "-") for name in registry.names(sys.modules[__name__])]


def load(name: str) -> Method:
    """Give one of the methods that `names` lists."""
    method: Method = registry.load(sys.modules[__name__], name.replace("-", "_")).METHOD
    return method
