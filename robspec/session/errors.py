"""What can be wrong with what Python hands over, or where a first specification is to be written."""

from __future__ import annotations

from robspec.errors import RobspecError


class UnsuitableModel(RobspecError):
    """The model given from Python is none that can be checked as it is.

    A model is a path, a `torch.export.ExportedProgram`, or an `nn.Module` in evaluation mode: in training mode batch
    normalisation and dropout make another function of it on every call.

    Example: `robspec.check(network.train(), "a.rspec")`.

    Mend: call `model.eval()`; give `robspec.prove` the size of the images, `shape=(3, 64, 64)`.
    """

    code = "E0611"
    title = "unsuitable model object"


class UnsuitableData(RobspecError):
    """The data given from Python holds something else than images with masks or labels.

    Items are pairs: an image, floats [C, H, W] in the declared range of the input (before any normalisation the
    specification states), and a mask, whole numbers [H, W], or one whole number for the image.

    Example: a data set of dictionaries.

    Mend: wrap it: `[(item["image"], item["mask"]) for item in data]`.
    """

    code = "E0612"
    title = "unsuitable data object"


class ModelIsAnother(RobspecError):
    """The model file that had to be opened is not what was read before, or what an earlier check remembers of it.

    A check whose logits are all kept does not open the model. Where it has to after all, what comes of that must be
    what was remembered of the very same bytes: the constants, and the program. Of several data sets each part reads
    the file, and all must find the same. Something changed the file while the check ran, or what is kept.

    Example: a training that writes `model.pt2` again while it is checked.

    Mend: check again; if it stays so, run `robspec cache --clear`.
    """

    code = "E0608"
    title = "the model changed meanwhile"

    def __init__(self, where: str, what: str = "it is not what an earlier check of the same bytes remembers") -> None:
        super().__init__(where, what, "check again; if it stays so, run `robspec cache --clear`")


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
