"""What the tests of model files share."""

from __future__ import annotations

from pathlib import Path

import pytest

from .archives import exported, small


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Where a bomb would leave its trace."""
    return tmp_path / "ran"


@pytest.fixture(scope="session")
def archive() -> bytes:
    """A sound archive with a dynamic batch."""
    return exported(small())
