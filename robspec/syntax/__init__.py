"""From text to the abstract syntax tree and back."""

from robspec.syntax.format import format_file
from robspec.syntax.parse import Parsed, parse

__all__ = ["Parsed", "format_file", "parse"]
