"""Syntax error.

A statement does not read as the language asks. The message says what was found and
what could have stood there. robspec skips the statement and goes on with the next,
so every broken statement is reported once; what depends on a skipped statement is
not reported at all.

Statements end with their line. A line goes on inside ( ) and [ ], after a comma,
and after `and` or `or`.

Example::

    budget = 0.1
    metirc pixel_accuracy
    classes background,

Mend::

    budget 0.1
    metric pixel_accuracy
    classes background, runway

A word of the language cannot name a parameter, a property or a data set; a class of
that name is quoted: `classes "data", other`.
"""
