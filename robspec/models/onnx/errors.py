"""What can be wrong with an ONNX file; each class is one page of `robspec explain`."""

from __future__ import annotations

from robspec.errors import RobspecError

BY_NAME = "with --model-output NAME (--output NAME of `robspec import`)"
"""How a value of a graph is chosen."""


class UnsafeOnnx(RobspecError):
    """The ONNX file is damaged, or built so that reading it would do harm; nothing in it was run.

    Refused are: weights outside the model's own folder, or reached through a link; a value that is used before it is
    computed, as in a cycle, or computed twice; weights whose size is not what their shape says; values too large to
    hold; and anything outside the format.

    Example: `external_data` with the location `../../etc/passwd`.

    Mend: write the file again with the exporter it came from, its weights beside it or inside it.
    """

    code = "E0221"
    title = "unsafe ONNX file"


class UnknownOnnxOperator(RobspecError):
    """The ONNX graph calls an operator, an operator set or an option that robspec does not read.

    Read are the operators of the standard domain, operator sets 11 and later, that have a meaning for images:
    convolution, pooling, resizing, activation, arithmetic, reduction, normalisation and reshaping. Operators of
    another domain, branches and loops, random numbers, quantised integers and functions of the file's own are not.

    Mend: cut the graph before it with `--output NAME`, or export the network without it. Functions of the file's own
    are written out by `onnx.inliner.inline_local_functions`.
    """

    code = "E0222"
    title = "unknown ONNX operator"


class OnnxInterface(RobspecError):
    """The part of the ONNX graph that was asked for does not map one batch of images to logits.

    Of several inputs `--input NAME` says which are the images, and `--fix NAME=VALUE` what the others hold;
    `--fix CHANNEL=VALUE` fixes a channel of the images, counted from 0. Free sides are given by
    `--input NAME=C,H,W` or by the specification. `--output NAME` names any value of the graph, also an inner one.

    Example: a file whose output is the number of correct pixels: cut it at its logits.

    Mend: the message lists the names there are.
    """

    code = "E0223"
    title = "no images or logits in the ONNX graph"


class OnnxDiffers(RobspecError):
    """What was read of the ONNX file computes something else than onnxruntime does, or one of them fails.

    Every imported file is run on at least eight images by both before anything is written or checked. More than
    rounding is a defect, of the reader or of the runtime, and no proof may rest on it.

    Mend: report it with the file; until then export the network from PyTorch, see docs/how-to/export-a-model.md.
    """

    code = "E0224"
    title = "the ONNX file and its reading differ"
