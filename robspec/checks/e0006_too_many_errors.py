"""Too many syntax errors.

After 20 syntax errors robspec stops reading: the file is probably not a
specification.

Example::

    robspec compile photograph.png

Mend: give the path of a .rspec file, or mend the errors shown first.
"""
