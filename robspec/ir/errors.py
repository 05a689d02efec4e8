"""Saved programs that cannot be read back."""

from __future__ import annotations

from robspec.errors import RobspecError


class BadProgram(RobspecError):
    """A saved intermediate representation cannot be read back.

    The text is no JSON, or was not written by `robspec compile --format json`, or was written by another
    version of the representation. Compile the specification again.
    """

    code = "E0020"
    title = "a saved program cannot be read"
