"""What the tests of privacy share with those of the prover: exports of small models."""

from __future__ import annotations

import pytest

from tests.lipschitz.conftest import Export, _export


@pytest.fixture(scope="session")
def export() -> Export:
    """Export a module of one image of the given shape, with a dynamic batch."""
    return _export
