"""What may be said of arithmetic."""

from __future__ import annotations

KINDS = ("exact", "real", "deployed")
"""Nothing, and the two statements; each allows for all that those before it do."""
