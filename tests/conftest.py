"""Shared test configuration: threads, hypothesis profiles, and Triton kernels interpreted where no GPU is."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

from tests.examples import DEFAULT, WRITTEN

# Tests run side by side on small images, where waking a second thread costs a thousand times the work it takes over.
# numba reads this when first imported, and child processes both; tests/kernels/test_threads.py asks for several.
for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")
torch.set_num_threads(1)
logging.getLogger("torch.__trace").propagate = False  # torch's own trace of every export is costly to capture

if not torch.cuda.is_available():
    # Triton reads this once, when first imported, which torch.export may do in any test module.
    os.environ.setdefault("TRITON_INTERPRET", "1")

settings.register_profile(
    "default", max_examples=DEFAULT, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", max_examples=25 * WRITTEN, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile(
    "mutants",
    max_examples=WRITTEN // 4,
    deadline=None,
    derandomize=True,
    database=None,
    # One failure is enough, however large.
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
)
settings.load_profile(os.environ.get("ROBSPEC_HYPOTHESIS", "default"))


@pytest.fixture(autouse=True, scope="session")
def no_store_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Logits that tests compute are kept apart from those of whoever runs them."""
    import robspec.store

    path: Path = tmp_path_factory.mktemp("store") / "store.sqlite"
    patch = pytest.MonkeyPatch()
    patch.setattr(robspec.store, "default_path", lambda: path)
    yield
    patch.undo()
