"""Brackets nested too deep.

An expression or condition nests more than 40 brackets. No readable specification
needs that many, and a limit keeps a hostile file from exhausting the reader.

Example::

    budget ((((((((((((((((((((((((((((((((((((((((((0.1))))))))))))))))))))))))))))))))))))))))))

Mend::

    param part = 0.1
    budget part
"""
