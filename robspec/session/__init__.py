"""One check from beginning to end: everything opened and matched, run, looked at again, and made into one report."""
