"""Specification too long to read.

A specification has at most 100000 words, signs and line ends, and as many comments. A larger one is almost
certainly something else given by mistake; a limit keeps a hostile file from occupying the reader for minutes.

Example::

    robspec compile table.csv

Mend: give the path of a .rspec file, or split the specification into several files.
"""
