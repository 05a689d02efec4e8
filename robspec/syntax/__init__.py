"""From text to the abstract syntax tree and back."""
