"""The language server: what an editor asks of a specification, answered by the compiler's own front end."""
