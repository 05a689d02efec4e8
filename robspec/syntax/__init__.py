"""From text to the abstract syntax tree and back."""

from robspec.syntax.parse import Parsed, parse

__all__ = ["Parsed", "parse"]
