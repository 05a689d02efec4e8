"""From the abstract syntax tree to the intermediate representation."""

from robspec.lower.compile import compile_file, compile_source, compile_text
from robspec.lower.overrides import parse_overrides

__all__ = ["compile_file", "compile_source", "compile_text", "parse_overrides"]
