"""Shared test configuration: hypothesis profiles, and Triton kernels interpreted where no GPU is."""

from __future__ import annotations

import os

import torch
from hypothesis import HealthCheck, Phase, settings

from tests.examples import DEFAULT

if not torch.cuda.is_available():
    # Triton reads this once, when first imported, which torch.export may do in any test module.
    os.environ.setdefault("TRITON_INTERPRET", "1")

settings.register_profile(
    "default", max_examples=DEFAULT, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", max_examples=25 * DEFAULT, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile(
    "mutants",
    max_examples=DEFAULT // 4,
    deadline=None,
    derandomize=True,
    database=None,
    # One failure is enough, however large.
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
)
settings.load_profile(os.environ.get("ROBSPEC_HYPOTHESIS", "default"))
