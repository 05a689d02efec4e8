"""What can be wrong with images and masks; each class is one page of `robspec explain`."""

from __future__ import annotations

from robspec.errors import RobspecError


class EmptyDataSet(RobspecError):
    """The glob of the data set matches no file, so there is nothing to certify.

    A property over zero images is never PROVED. The glob is relative to the folder of the specification, or
    to the folder given with `--data`.

    Example: `images "val/images/*.png"` while the files are named `*.jpg`.
    Mend: correct the glob, or point `--data` at the folder the globs are relative to.
    """

    code = "E0301"
    title = "empty data set"


class MissingMask(RobspecError):
    """Some images have no mask, region file or weight file of the same stem, or no row in the table of labels.

    Images and these files are paired by file name without its suffix, `images/0012.jpg` with `masks/0012.png`, or by
    the named parts of their patterns. An image without its annotation cannot be judged, and leaving it out in silence
    would change the result. The message says which of the three is missing and under which glob.

    Example: `images/0012.png` exists and `masks/0012.png` does not.
    Mend: add the files, narrow the image glob, or remove `masks` if only `stability` is asked, `region` or
    `weights` if no metric asks for them.
    """

    code = "E0302"
    title = "image without mask, region file, weight file or label"


class DuplicateStem(RobspecError):
    """Two images, two masks, two region files or two weight files have the same stem, so the pairing is ambiguous.

    Where patterns have named parts, two files of one kind are alike in all of them.

    Example: `images/a/0001.png` and `images/b/0001.png` under `images "images/**/*.png"`.
    Mend: name the folder in both patterns, `images "images/{folder}/{stem}.png"`; rename one of them, or narrow the
    glob.
    """

    code = "E0303"
    title = "duplicate stem"


class MaskSizeMismatch(RobspecError):
    """A mask, region file or weight file does not have one number per output pixel of the model.

    robspec never resizes one: which pixel carries which label or weight is part of the claim.

    Example: logits are 2 x 64 x 64 and `masks/0001.png` is 128 x 128.
    Mend: resize the files once, with nearest-neighbour interpolation, and save them.
    """

    code = "E0304"
    title = "size of a mask, region file or weight file differs from the output"


class UnreadableFile(RobspecError):
    """A file of the data set cannot be decoded: damaged, truncated, of another format, or not permitted.

    PNG, JPEG, GIF, TIFF, WebP, .npy and .npz are read; arrays that would need unpickling are refused, since that runs
    code.

    Example: a PNG whose download stopped half-way.
    Mend: restore or re-save the file, or narrow the glob so that it is not matched.
    """

    code = "E0305"
    title = "unreadable file of the data set"


class LabelOutOfRange(RobspecError):
    """A mask, a table of labels or a folder's name holds a label that is no declared class, nor the ignore label.

    Such a pixel could not be right or wrong in any defined sense.

    Example: two classes are declared and a mask holds 255 at its borders, with no `ignore 255`.
    Mend: declare `ignore 255`, declare the missing classes, or, for masks of 0 and 255, declare them binary.
    """

    code = "E0306"
    title = "label out of range"


class ImageShapeMismatch(RobspecError):
    """An image does not have the shape of the declared input.

    robspec never resizes or crops an image unless the data say so: eps is a distance between the exact arrays the
    model sees.

    Example: the input is [3, 256, 256] and `images/0001.png` is grayscale, or 640 x 480.
    Mend: resize or convert the images once, and save them; write `resize` or `crop` into the data block, which the
    report then says; or correct the `input` of the specification.
    """

    shape: tuple[int, int, int] | None = None
    """Channels, height and width of the image, where they are known."""
    code = "E0307"
    title = "image shape differs from the input"


class FileTooLarge(RobspecError):
    """A file, or what it would decode to, is far larger than the declared shape needs.

    A small compressed file can claim to hold an enormous image. robspec compares the header with the declared
    shape before it decodes anything, and bounds what it reads.

    Mend: check where the file comes from; re-save it at the declared shape.
    """

    code = "E0308"
    title = "file too large"


class AmbiguousArchive(RobspecError):
    """A .npz file does not hold exactly one array, so it is not clear which one is meant.

    Mend: save one array per file, for example `numpy.savez_compressed("0001.npz", image)`.
    """

    code = "E0309"
    title = "several arrays in one file"


class PixelOutOfRange(RobspecError):
    """A floating-point image holds values outside the declared range, or NaN or infinity.

    Integer images are scaled to the declared range; floating-point images are taken as they are, and must
    already lie in it, or eps would be in other units than the specification says.

    Example: `in [0, 1]`, and a float32 array with values up to 255.
    Mend: divide the arrays by 255 and save them, save them as uint8, or correct the range of the input.
    """

    code = "E0310"
    title = "pixel outside the declared range"


class UnsupportedFile(RobspecError):
    """A file matched by the glob is of a kind robspec does not read without loss.

    Read: JPEG of 8 bits, grayscale PNG of 1 to 16 bits, RGB PNG of 8 bits, palette PNG, GIF, TIFF of one page, WebP,
    and arrays of uint8, uint16, float16, float32 or float64; masks as files of one exact number per pixel, or of
    colours where `map` says what they stand for. A 16-bit colour PNG is refused because the decoder would silently
    drop the low bits; transparent pixels and CMYK because what they look like depends on more than the file;
    animations because it is not clear which frame is meant. The whole table is in docs/reference/pixels.md.

    Mend: convert the files once, or narrow the glob.
    """

    code = "E0311"
    title = "unsupported kind of file"


class FileChanged(RobspecError):
    """A file changed during one run, so the report's hash would not describe what was certified.

    Mend: make sure nothing writes to the data set during a check, and run it again.
    """

    code = "E0312"
    title = "file changed during the run"


class BadWeights(RobspecError):
    """A weight file holds a weight that cannot weigh a pixel.

    Weights are finite numbers of 0 or more, one per pixel of the logits; a pixel of weight 0 does not count. PNG
    files hold integers, .npy and .npz files may hold fractions.

    Example: an array with -1 where nothing is annotated.
    Mend: write 0 there.
    """

    code = "E0313"
    title = "a weight is negative or not finite"


class BadAnnotation(RobspecError):
    """A line of a runway annotation file cannot be turned into a mask.

    The file has LARD's columns: `image`, `height`, `width`, and `x_A`, `y_A` to `x_D`, `y_D`, the corners of the
    runway in pixels, separated by semicolons. Corners may lie outside the image, where they are clipped; together
    they must be the corners of a convex quadrilateral.

    Example: an empty `x_C`, or three corners on one line.
    Mend: correct the line, or leave it out; an image without a runway needs a mask of zeros.
    """

    code = "E0314"
    title = "runway annotation that makes no mask"


class OrientationUnclear(RobspecError):
    """Which side of an image is up is said in two ways, or in a way not every program follows.

    A camera stores an image as its sensor saw it and notes in EXIF how to turn it. robspec turns it so, as annotation
    tools do, and says so in the report. It refuses where that could put a mask on the wrong pixels: image and mask
    have different orientations; a mask has the sides of the image before it is turned; EXIF and XMP differ.

    Example: `images/a.jpg` is 3024 x 4032 and turned by EXIF to 4032 x 3024, `masks/a.png` is 3024 x 4032.
    Mend: turn the pixels once as you mean them, and save the file without EXIF and XMP.
    """

    code = "E0315"
    title = "orientation of an image or mask is not clear"


class AmbiguousPalette(RobspecError):
    """A mask, region file or weight file has a palette of greys that shows other numbers than it stores.

    Of a file with a palette, robspec reads the indices; of one in grey, the grey levels. Programs that make files
    smaller turn grey files into palettes and put the greys into any order, so that an index of 0 may show a 2. Where
    indices and greys both make sense and differ, either may be the annotation.

    Example: a mask of the classes 0, 1 and 2 whose palette is (2, 2, 2), (0, 0, 0), (1, 1, 1).
    Mend: save the mask as 8-bit grayscale with class ids, or as an array.
    """

    code = "E0316"
    title = "palette of greys in another order"


class PixelsTooFine(RobspecError):
    """An array image holds float64 pixels that float32 cannot hold, and the model runs in float64.

    Images are float32 everywhere: that is what attacks perturb and witnesses store. A model in float32 rounds its
    input anyway; one in float64 would see another image than the file holds.

    Example: an image of `np.random.rand(3, 64, 64)` with `--forward float64`.
    Mend: save it as float32: np.save(path, image.astype(np.float32)).
    """

    code = "E0317"
    title = "pixels finer than float32"


class BadLabelTable(RobspecError):
    """The table of the images' labels cannot be read, or contradicts itself.

    It is a CSV file in UTF-8 whose first line names a column `image` and a column `label`; other columns are passed
    over. A row names its image by the path that the image glob matches, by the path seen from the table's folder, or
    by the file name where only one image has it. A label is a class name, or an index from 0; no index where a class
    is called by the index of another.

    Example: a first line `filename,class`; or two rows for one image with different labels.
    Mend: name the columns `image` and `label`, and keep one row for each image.
    """

    code = "E0318"
    title = "table of labels cannot be read"


class AmbiguousName(RobspecError):
    """A file's path can be taken apart in two ways by a pattern with named parts.

    Files are paired by these parts, so robspec does not guess.

    Example: `{city}_{stem}.png` and a file `new_york_0001.png`: the city is `new` or `new_york`.
    Mend: write more of the path out, or put * where nothing is paired, as in `new_york_{stem}.png`.
    """

    code = "E0330"
    title = "path that named parts can read in two ways"


class BadPairTable(RobspecError):
    """The table of images and masks cannot be read.

    It is a CSV file in UTF-8 whose first line names a column `image` and a column `mask`; other columns are passed
    over. Paths start from the folder of the table.

    Example: a first line `file,annotation`.
    Mend: name the columns `image` and `mask`.
    """

    code = "E0331"
    title = "table of images and masks cannot be read"


class PathOutside(RobspecError):
    """A file of the data set names another file outside its own folder.

    A table or annotation from elsewhere could otherwise make robspec open any file of the machine. What the
    specification itself writes is not restricted.

    Example: a row `../../secret.png` in a table of pairs; an absolute path in a list of images.
    Mend: give paths from the folder of the table on, or move the table.
    """

    code = "E0332"
    title = "path that leaves its folder"


class StepImpossible(RobspecError):
    """An image cannot be cropped or resized as the data say.

    A crop must lie within the image. Resampling is defined for 8-bit images; others can be cropped, or resized by the
    nearest pixel.

    Example: `crop [512, 512]` and an image of 480 x 640.
    Mend: crop less, resize first, or bring the files to size once.
    """

    code = "E0333"
    title = "crop or resize that an image does not admit"


class UnknownLayout(RobspecError):
    """The specification names a published data set whose layout robspec does not know, or a split it does not have.

    `robspec explain --list` does not list them: docs/reference/layouts.md does.

    Example: `data cityscape "ROOT" split val`.
    Mend: correct the name, or write the patterns out with `images`, `masks` and `map`.
    """

    code = "E0334"
    title = "unknown layout or split"


class LayoutMismatch(RobspecError):
    """The folder does not hold the data set as it is published.

    Each layout states which files lie where, and where that is published. What differs is named.

    Example: `data voc "ROOT" split val`, and no `ImageSets/Segmentation/val.txt` under ROOT.
    Mend: point at the folder the archive unpacks to, or write the patterns out with `images` and `masks`.
    """

    code = "E0335"
    title = "folder is not laid out as published"


class ClassNotPublished(RobspecError):
    """A class of the model is none of the published data set's, so that no pixel would be annotated with it.

    Classes are matched by name; capitals, `-` and `_` make no difference.

    Example: `classes background, vehicle` for Carvana, which publishes `background` and `car`.
    Mend: use the published names, or map the published label: `map 1 to vehicle`.
    """

    code = "E0336"
    title = "class that the published data set does not have"


class BadObjects(RobspecError):
    """The annotation of a detector's objects cannot be read, or is of other images than the model sees.

    `objects coco "file.json"` names one file with `images`, `annotations` and `categories`; `objects yolo "*.txt"`
    and `objects voc "*.xml"` one file for each image, paired by name, and empty where nothing is on it. Categories
    and names are class names of the model. Boxes are in pixels of the images as the model sees them: robspec scales
    neither, and refuses a file that speaks of another size, or images that EXIF turns. Of VOC pixels are counted from
    1, both ends included. XML with a document type is not read.

    Example: `"width": 640, "height": 480` beside `input image [3, 256, 256] in [0, 1]`.
    Mend: scale the images and their boxes together, once, and annotate the scaled ones.
    """

    code = "E0319"
    title = "annotation of objects cannot be read"
