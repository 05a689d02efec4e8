"""Located messages about a specification: spans, severities, codes, carets."""
