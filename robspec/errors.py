"""The root of every error a user can meet: a stable code, where, what, and how to mend it."""

from __future__ import annotations

from typing import ClassVar


class RobspecError(Exception):
    """One clear error about the user's input; the docstring of a subclass is what `robspec explain` prints.

    Args:
        where: file, image, module path or option the error is about.
        what: one sentence on what is wrong.
        mend: one sentence on how to mend it.
    """

    code: ClassVar[str] = "E0000"
    title: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 2

    def __init__(self, where: str, what: str, mend: str) -> None:
        super().__init__(where, what, mend)
        self.where = where
        self.what = what
        self.mend = mend

    def __str__(self) -> str:
        return f"error[{self.code}]: {self.what}\n  --> {self.where}\n  mend: {self.mend}"


class SoundnessAlarm(RobspecError):
    """A certified bound contradicts an evaluated fact: the result must not be trusted.

    robspec found a value on a concrete input that is worse than the bound it had certified for it, or two
    independent computations of the same bound disagree. This is a defect in robspec (or in the machine),
    never in your specification. The check exits with status 4; keep the output and report it.
    """

    code = "E0901"
    title = "soundness alarm"
    exit_status = 4


class MissingExtra(RobspecError):
    """A command needs a package that is not installed, because it belongs to an extra of robspec.

    The core compiles, formats, checks and proves; other work needs more: `gpu` the kernels for GPUs, `oracle` the
    independent solvers of `--cross-check`, `train` the layers that networks are trained with, `coco` the polygons of
    COCO's annotations. `robspec doctor` lists them.

    Example: `robspec train` after a plain `pip install robspec`.
    Mend: install the extra that the message names, `pip install 'robspec[train]'`, or all of them: `robspec[all]`.
    """

    code = "E0870"
    title = "an extra is not installed"
