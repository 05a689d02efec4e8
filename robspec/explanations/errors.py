"""Errors of explanations."""

from __future__ import annotations

from robspec.errors import RobspecError


class AlreadyViolated(RobspecError):
    """The image itself violates the requirement, or is decided as asked, so that nothing has to be changed.

    A counterfactual is an image near by of which the opposite holds; here the image is its own. The nearest is at
    distance 0, and the ratio q of a certified lower bound to the distance found, 0 / 0, is undefined.

    Example: `--to 1` of an image of class 1; a property `degraded when h <= 0.75` on an image whose accuracy is 0.7.
    Mend: ask for another class, choose another image, or a threshold the image does not meet.
    """

    code = "E0851"
    title = "the image itself is a counterfactual"


class NoQuestion(RobspecError):
    """The command names no question that has one answer for one image.

    Asked of one image can be: a property whose metric is one number per image (`--spec S --property P`), or which
    class a network decides for (`--to CLASS`, or without it any other). Not: pooled metrics, which are one number for
    all images together; an image on which the metric is undefined; a network that decides for every pixel, without
    `--pixel ROW,COLUMN` or a property; norms other than l2 and linf, in which no search is made.
    """

    code = "E0852"
    title = "no question about one image"


class NoSuchImage(RobspecError):
    """A property compares with an annotation, and the data of its specification hold none for this image.

    `--spec S --property P` takes images of the data set that S declares, so that each comes with its mask, region and
    weights. The name of an image is the path of its file.

    Mend: name files that the glob after `images` matches, or say with `--data` where the globs start from.
    """

    code = "E0853"
    title = "an image that is not of the data set"


class ExtraMissing(RobspecError):
    """Attribution maps need the package captum, which is not installed here.

    It serves gradient, integrated gradients and SmoothGrad, and is an optional dependency as no proof needs it. A
    package that is there but cannot be imported is another error, which is shown as it is.

    Mend: `pip install 'robspec[explain]'`, or leave `--attribution` out.
    """

    code = "E0854"
    title = "attribution maps need captum"
