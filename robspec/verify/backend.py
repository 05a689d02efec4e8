"""The choice of a kernel backend: explicit, reported, never a silent fallback."""

from __future__ import annotations

from robspec.arrays import Array
from robspec.kernels.knapsack import Backend, backends
from robspec.kernels.knapsack.tiered import TIERED
from robspec.verify.errors import BackendUnavailableError

PREFERENCE = {"cpu": ("cpu", "reference"), "cuda": ("triton", "cpu", "reference")}
"""What "auto" tries, by where the logits live: moving them costs more than any kernel."""


def choose(name: str, device: str = "cpu") -> Backend:
    """Pick a backend.

    Args:
        name: a backend's name, or "auto" for the fastest one available.
        device: where the logits live, "cpu" or "cuda".

    Returns:
        The backend; the report names it.

    Raises:
        BackendUnavailableError: no such backend, or it cannot run here (E0405).
    """
    if name == "auto" and device == "cpu" and TIERED.unavailable() is None:
        return TIERED  # before the others are imported to be listed
    found = backends()
    if name == "auto":
        for candidate in PREFERENCE[device]:
            if candidate in found and found[candidate].unavailable() is None:
                return found[candidate]
    if name not in found:
        listed = ", ".join(["auto", *found])
        raise BackendUnavailableError("--backend", f"no backend {name!r}", f"choose one of {listed}")
    reason = found[name].unavailable()
    if reason is not None:
        raise BackendUnavailableError("--backend", f"{name} cannot run here: {reason}", "choose another backend")
    return found[name]


def within_reach(backend: Backend, logits: Array) -> Array:
    """Give logits where a backend reads them: Triton wherever they are, any other on the CPU."""
    if backend.name == "triton" or not hasattr(logits, "cpu"):
        return logits
    found: Array = logits.cpu()
    return found
