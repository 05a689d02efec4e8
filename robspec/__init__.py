"""robspec: a formal specification language and verifier for the robustness of vision models.

`robspec.check`, `robspec.prove`, `robspec.compile` and `robspec.load_report` are the commands from Python, and
`robspec.Spec` builds a specification; they are imported when they are first asked for, so that `import robspec` needs
no torch.
"""

from __future__ import annotations

import importlib
import os

TYPE_CHECKING = False
"""True to type checkers; not taken from `typing`, whose import takes longer than all else here."""

if TYPE_CHECKING:
    from typing import Any

    from robspec.api import Spec, check, compile, load_report, prove  # noqa: A004

__all__ = ["Spec", "check", "compile", "load_report", "prove"]
__version__ = "0.1.0"


def _require_links(folder: str) -> None:
    """Say what is wrong where a checkout has text files in place of its symbolic links, as on Windows."""
    broken = [name for name in ("grammars", "kernels") if os.path.isfile(os.path.join(folder, name))]
    if broken:
        raise ImportError(
            f"robspec/{broken[0]} should be a symbolic link, and this checkout has none: run `git config "
            "core.symlinks true` and `git checkout -- robspec`, or install the wheel, which needs none"
        )


_require_links(os.path.dirname(__file__))


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("robspec.api"), name)
    raise AttributeError(f"module 'robspec' has no attribute {name!r}")
