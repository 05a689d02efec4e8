"""Text that is no part of the language.

A character has no meaning where it stands, or a quoted text is not closed on its
line, or it holds a character that cannot be shown (such as one that reverses the
direction of writing). Quoted texts use ", go on to the end of the same line at
most, and know no escapes, so that a path is read as it is written.

Example::

    images 'val/*.png'
    masks "val/*.png
    budget .5

Mend::

    images "val/*.png"
    masks "val/*.png"
    budget 0.5
"""
