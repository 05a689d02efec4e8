"""What can be wrong with a training run; each class is one page of `robspec explain`."""

from __future__ import annotations

from robspec.errors import RobspecError


class ConfigUnreadable(RobspecError):
    """The training configuration cannot be opened, is too large, or is not TOML.

    Example: `epochs = ten`, a missing quote, a file of another format.
    Mend: the message names the line; see docs/how-to/train-a-lipnet.md for a complete configuration.
    """

    code = "E0701"
    title = "unreadable configuration"


class ConfigKey(RobspecError):
    """The configuration has a section or key that does not exist, or lacks one that must be there.

    A key that is not understood is never passed over: a misspelt one would leave its default in force unseen.

    Example: `[optimiser]`, or `learning_rate` for `rate`.
    Mend: correct the name; the message suggests the nearest one.
    """

    code = "E0702"
    title = "unknown or missing key"


class ConfigValue(RobspecError):
    """A value in the configuration is of the wrong kind, out of range, or contradicts another one.

    Example: `epochs = 0`; `kind = "focal"` for masks; a crop whose sides the network's stride does not divide.
    Mend: the message says what the key may be.
    """

    code = "E0703"
    title = "bad value in the configuration"


class CheckpointMismatch(RobspecError):
    """The output folder holds a checkpoint that this run cannot go on from.

    A resumed run ends with the same bits as one that was never interrupted. That needs the same configuration, the
    same files and the same versions, whose hashes the checkpoint holds. A damaged checkpoint is refused too.

    Example: the learning rate was changed after the run was stopped.
    Mend: restore what was changed, name another `--out`, or begin again with `--fresh`.
    """

    code = "E0704"
    title = "checkpoint of another run"


class TrainingDiverged(RobspecError):
    """The loss became infinite or NaN.

    Nothing was saved after the last checkpoint, and nothing is exported.

    Example: a learning rate of 10 for an unconstrained network.
    Mend: lower `rate`, add `warmup`, and begin again with `--fresh`.
    """

    code = "E0705"
    title = "training diverged"


class SceneGenerator(RobspecError):
    """The configuration asks for drawn scenes, and the function that draws them is not named or does not work.

    `--generator package.module:function` imports your own code from the current folder and calls it as
    `function(seed, size)`; it must return an image, uint8 [size, size, 3], and a mask, uint8 [size, size]. A
    configuration alone never runs code.

    Example: `train_scenes = 100` without `--generator`.
    Mend: name the function on the command line, or give `train_images` and `train_masks`.
    """

    code = "E0706"
    title = "no generator of scenes"


class FolderInUse(RobspecError):
    """Another process trains in the same folder.

    A run reads its checkpoint once and writes it after many steps, and a private run counts there what it has spent.
    Two in one folder would overwrite each other, and the count would say less than both have told of the images. So
    a run holds a lock of the operating system on its folder, from before the first file is read until the card is
    written. The lock ends with the process, also where it is killed: what is left of it then is an empty file called
    .lock, which the next run takes over.

    Example: the same `robspec train` in two terminals.
    Mend: wait until the other run has ended, or stop it and give the command again, which goes on from its
    checkpoint; a run of its own needs a folder of its own, `--out`.
    """

    code = "E0707"
    title = "folder of a run in use"
