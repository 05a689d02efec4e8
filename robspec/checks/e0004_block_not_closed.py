"""Block that is not closed.

A block begins (`property`, `model` or `data`), or the file ends, while another
block is still open. Blocks do not nest. robspec takes the open block as closed
there and reads on.

Example::

    data val {
      images "val/*.png"
    property accurate {

Mend::

    data val {
      images "val/*.png"
    }
    property accurate {
"""
