"""What is wrong with a data set, mended where a training run says it: in its configuration, not a specification."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from robspec.data import labels
from robspec.data.errors import ImageShapeMismatch, LabelOutOfRange
from robspec.train.config import Config


@contextmanager
def in_configuration(config: Config) -> Iterator[None]:
    """Let errors about images and labels name the keys of a configuration that mend them.

    Args:
        config: the configuration.

    Raises:
        ImageShapeMismatch: E0307.
        LabelOutOfRange: E0306.
    """
    try:
        yield
    except ImageShapeMismatch as error:
        raise ImageShapeMismatch(error.where, error.what, _input(config, error.shape)) from None
    except LabelOutOfRange as error:
        raise LabelOutOfRange(error.where, error.what, _classes(config, error.mend)) from None


def _input(config: Config, shape: tuple[int, int, int] | None) -> str:
    declared, where = list(config.data.input), f"[data] of {config.path}"
    if shape is None or not all(shape):
        return f"correct `input = {declared}` in {where}, or convert the images once, and save them"
    mend = f"write `input = {list(shape)}` for `input = {declared}` in {where}"
    if shape[0] != declared[0]:
        mend += f", and {shape[0]} of `mean` and of `std` in [model]"
    return f"{mend}, if all images are like this one; else convert them once, and save them: training never resizes"


def _classes(config: Config, mend: str) -> str:
    where = f"[data] of {config.path}"
    if mend == labels.MARKED:
        return f"write `binary = true` in {where}; `ignore = 255` would leave out every pixel that is marked"
    if mend == labels.FROM_ONE:
        return (
            f"add the class that `classes = [...]` in {where} lacks: at its end, or in front where masks number "
            "classes from 1; or number them from 0 in the masks"
        )
    if mend == labels.UNDECLARED:
        return (
            f"add the class to `classes = [...]` in {where}, write the label as `ignore = ...`, or correct the mask"
        )
    if "`masks ... binary`" in mend:
        return mend.replace("`masks ... binary`", f"`binary = true` in {where}")
    return f"{mend}; or add the class to `classes = [...]` in {where}"
