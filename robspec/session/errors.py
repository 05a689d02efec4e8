"""What can go wrong when a first specification is written."""

from __future__ import annotations

from robspec.errors import RobspecError


class NothingRecognised(RobspecError):
    """`robspec init` found no images that go with the model in a folder.

    It knows the layouts of docs/reference/layouts.md, folders of images with or without a folder of masks beside it
    (`images` and `masks`, `image` and `mask`, `img` and `gt`, and the like), and, for models of whole images, one
    folder for each class or a table `labels.csv`.

    Example: a folder that holds an archive which was not unpacked.
    Mend: name the folder that holds the images, or write the data block by hand.
    """

    code = "E0871"
    title = "no data set recognised"
