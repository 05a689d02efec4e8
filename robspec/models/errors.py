"""What can be wrong with a model file; each class is one page of `robspec explain`."""

from __future__ import annotations

from robspec.errors import RobspecError


class ModelNotFound(RobspecError):
    """The model file does not exist, is a directory, or cannot be opened.

    Mend: give the path of a file written by `robspec export` or `torch.export.save`.
    """

    code = "E0201"
    title = "no model file"


class NotAModel(RobspecError):
    """The file's content is not that of a model, whatever its name says.

    robspec recognises by content: torch.export archives, and, to explain how to convert them, TorchScript
    archives, pickled modules and bare weights.

    Example: a text file, an empty file, an ONNX file.
    Mend: export the model with

        robspec export --arch package.module:factory --weights weights.pt --input C,H,W model.pt2

    where C,H,W is the shape of one image: channels, height, width.
    """

    code = "E0202"
    title = "not a model file"


class DamagedModel(RobspecError):
    """The file begins like an archive, and is truncated or otherwise damaged.

    Mend: copy or download the file again and compare its hash with the original's.
    """

    code = "E0203"
    title = "damaged model file"


class PickledModel(RobspecError):
    """The file is a pickled module. Reading it would run whatever code it contains, so it is not read.

    `torch.save(model, path)` stores instructions for rebuilding the object, and a pickle's instructions can
    call any function. robspec looks at the list of instructions without following them. Files of weights are pickles
    as well; they are read, in the format of torch.save before version 1.6 too, where their instructions make tensors,
    containers and plain settings alone.

    Mend, on a machine where you trust the file::

        import torch
        model = torch.load("model.pt", weights_only=False).eval()
        images = torch.zeros(2, C, H, W)  # put in the shape of one image: channels, height, width
        batch = {0: torch.export.Dim("batch", min=1, max=64)}
        with torch.no_grad():
            program = torch.export.export(model, (images,), dynamic_shapes=(batch,))
        torch.export.save(program, "model.pt2")

    Example: a checkpoint that holds an object of the training code beside its weights.
    Mend, on a machine where you trust the file::

        torch.save(torch.load("last.ckpt", weights_only=False)["state_dict"], "weights.pt")
    """

    code = "E0204"
    title = "pickled module"


class TorchScriptModel(RobspecError):
    """The file is a TorchScript archive. Its program is not a graph that robspec can analyse.

    Mend, where the Python source of the model is at hand:

        robspec export --arch package.module:factory --weights weights.pt --input C,H,W model.pt2

    where weights.pt holds `torch.jit.load("model.pt").state_dict()`, saved with `torch.save`, and C,H,W is the shape
    of one image: channels, height, width.
    """

    code = "E0205"
    title = "TorchScript archive"


class BareWeights(RobspecError):
    """The file holds weights without a network, and no architecture was named.

    Mend: name the function that builds the network, `--arch package.module:factory`; or write an archive
    once with `robspec export`.
    """

    code = "E0206"
    title = "weights without architecture"


class WhichWeights(RobspecError):
    """The file holds more than one table of weights, none, or none under the name that was asked for.

    A checkpoint of a training run holds the optimiser's state and settings beside the weights, and often the weights
    twice: as trained, and averaged. robspec takes none of them unasked. The message lists the tables of tensors there
    are, the largest first.

    Example: a checkpoint of Lightning, `{"state_dict": ..., "optimizer_states": ..., "epoch": 12}`.
    Mend: name one of them, keys inside one another joined by dots; and what its names have more than the network's:

        robspec export --arch package.module:factory --weights last.ckpt --key state_dict --strip-prefix model. \\
            --input C,H,W model.pt2
    """

    code = "E0217"
    title = "which weights"


class UnsafeArchive(RobspecError):
    """Loading the archive would unpickle an object, evaluate text, or run compiled code.

    torch.export.load unpickles constants, some weights and sample inputs, and hands symbolic expressions to
    a Python parser. robspec reads the archive itself, accepts plain tensors, plain names and plain
    integers, and gives torch a copy rebuilt from those alone. Anything else is refused and named.

    Mend: export the model again with `robspec export`, which writes no such part. If you did not make the
    file, ask its author why it contains one."""

    code = "E0207"
    title = "unsafe archive"


class UnknownOperator(RobspecError):
    """The graph calls an operator that is not on the list of known plain functions of their inputs.

    Operators that draw random numbers, read files, return uninitialised memory or change their arguments'
    storage would make the result depend on more than the image.

    Example: dropout left in training mode; a custom operator of another library.
    Mend: export the model in evaluation mode (`model.eval()`), or replace the operator by standard ones.

    Example: `wrap_with_set_grad_enabled`, which `torch.export.export` puts around a `with torch.no_grad():` inside
    `forward`.
    Mend: export with `robspec export --arch package.module:factory --input C,H,W model.pt2`, or call
    `torch.export.export` under `torch.no_grad()`.

    Example: `instance_norm` without running statistics, in evaluation mode too: it divides by the image's own
    deviation, for which robspec has no rule.
    Mend: use BatchNorm2d, or InstanceNorm2d with `track_running_stats=True`, and train again.
    """

    code = "E0208"
    title = "operator not allowed"


class ModelInterface(RobspecError):
    """The model is not a function from one batch of images to one batch of logit maps.

    robspec certifies [B, C, H, W] -> [B, K, H, W], in float32 or float64, with no state that changes between
    calls.

    Example: a model that returns an auxiliary output as well; a classifier returning [B, K].
    Mend: wrap the model in a module whose `forward` takes the images and returns the logits, and export that;
    `robspec explain E0213` shows one.
    """

    code = "E0209"
    title = "model interface"


class ModelTooLarge(RobspecError):
    """The file, or a tensor it declares, is beyond what robspec is willing to hold in memory.

    Mend: check where the file comes from. The limit is stated in the message.
    """

    code = "E0210"
    title = "model too large"


class ArchitectureError(RobspecError):
    """The function named by `--arch` cannot be imported or called, or the weights do not fit what it builds.

    `--arch package.module:factory` imports your own code from the current folder and calls `factory()` with
    no argument; it must return a torch.nn.Module whose parameters have the names of the weights. A torch.export
    archive holds its own network, and `--arch` beside one is refused.

    Mend: run `python -c "from package.module import factory; factory()"` and correct what it shows.

    Example: weights saved from a network inside DataParallel, torch.compile or a training module are called
    `module.conv.weight`, `_orig_mod.conv.weight` or `model.conv.weight` where the network has `conv.weight`.
    Mend: `robspec export --strip-prefix module.`, the prefix being named in the message.
    """

    code = "E0211"
    title = "architecture"


class InconsistentArchive(RobspecError):
    """The archive contradicts itself, or does not follow the format it declares.

    What the graph says of a value's shape is compared with what computing it gives, because proofs about the
    model read the former. A tensor must lie inside its stored bytes.

    Mend: export the model again; an archive of another torch version may need exporting with this one.
    """

    code = "E0212"
    title = "inconsistent archive"


class ExportFailed(RobspecError):
    """The model could not be turned into an archive, or the archive does not compute what the model does.

    Mend: the message holds torch's own reason. Control flow that depends on the image, and operations outside
    torch, cannot be exported.

    Example: a module that returns a tuple or a dict, as those of torchvision do.
    Mend: wrap it in a module that returns the logits alone, and name that one's factory with `--arch`:

        class Logits(torch.nn.Module):
            def __init__(self, network):
                super().__init__()
                self.network = network

            def forward(self, images):
                return self.network(images)["out"]  # of a tuple: [0]

        def build():
            return Logits(the_network())

    The wrapper's weights are called `network.` and then as before: load those that were saved without it in `build`,
    and leave out `--weights`.
    """

    code = "E0213"
    title = "export failed"


class UnwritableOutput(RobspecError):
    """The output file cannot be written. Nothing was left half-written, and an older file is as it was.

    Mend: create the folder, or choose another path.
    """

    code = "E0214"
    title = "unwritable output"


class ForwardFailed(RobspecError):
    """The model raised an error, or returned a wrong shape, on a batch of images of the declared shape.

    Mend: run the exported program on one image yourself and compare; export the model again.
    """

    code = "E0215"
    title = "forward pass failed"


class ModelDesign(RobspecError):
    """The architecture asked for cannot be built: an unknown name, or channels that do not fit together.

    MaxMin needs an even number of channels and GroupSort a multiple of its group's size; LipUNet halves its channels
    at every level; sides of the image must be divisible by the network's stride.

    Example: `architecture = "unet"` with `channels = [15, 30]`.
    Mend: the message names the key and what it may be; see docs/how-to/train-a-lipnet.md.
    """

    code = "E0216"
    title = "network cannot be built"


class LogitsDependOnCompany(RobspecError):
    """A model gives an image other logits alone than among the other images of a batch.

    A certificate is about one image. The proof follows every number that descends from the batch size through the
    graph and refuses what is more than a shape; this is the second net behind it: one image of every data set is run
    alone and in company, and the two may differ by rounding only (2^-12 of the largest logit in float32, and where
    they differ by more, 2^-36 of it in float64).

    Example: a batch normalisation that was exported in training mode.

    Mend: export the model in evaluation mode, and let nothing depend on how many images there are.
    """

    code = "E0218"
    title = "logits depend on the other images"


class NeverBelowZero(RobspecError):
    """The single output channel is nowhere below 0 on any image of the data set, so it is hardly a logit.

    With one output channel a pixel is of the second class where its logit is above 0. Probabilities and distances are
    never below 0: read as logits they make every pixel the second class, and a requirement such as `fnr <= 0.1` would
    be proved of a model that finds nothing. A last sigmoid is recognised and taken off; this is what is left.

    Example: `return 1 / (1 + torch.exp(-z))` written in a way that is not recognised.

    Mend: return the logit z. Where every pixel of the data really is of the second class, return two channels.
    """

    code = "E0219"
    title = "single output never below 0"


class ModelChoice(RobspecError):
    """A model returns several things, or leaves sides of its images free, and what was chosen does not fit it.

    A model that returns a dictionary or a tuple needs the key or number, from 0, of its logits: `--output KEY` of
    `import` and `export`, `--model-output KEY` of commands whose `--output` is a file, `output=` in Python. A model
    that takes images of any height and width is proved for one size, as its constant depends on it: that of the
    specification, or `--input C,H,W`.

    Example: a DeepLab of torchvision, which returns `{"out": ..., "aux": ...}`.

    Mend: the message lists the keys, or the sides that fit.
    """

    code = "E0225"
    title = "model part not chosen"


class ScoresAreProbabilities(RobspecError):
    """A threshold of a sigmoid is asked of scores that look like probabilities already.

    `threshold sigmoid 0.3` means that a location fires where the sigmoid of its score is at least 0.3. A sigmoid that
    ends the model is taken off, so that it is taken once; one further inside, under a concatenation or a reshape, is
    not seen, and a sigmoid of a probability is never below 0.5: everything would fire, whatever the image.

    Example: a forward that ends with `torch.cat([torch.sigmoid(a), torch.sigmoid(b)], -1)`.
    Mend: `torch.sigmoid(torch.cat([a, b], -1))`, or return the logits; or write `threshold score 0.3`.
    """

    code = "E0226"
    title = "scores look like probabilities"


class SeveralClaims(RobspecError):
    """Two `model` blocks of a specification are about one file.

    A block may name a file by its name or by its digest; where one block names it one way and another block the
    other, or by a longer and a shorter path, nothing says which claim holds.

    Mend: leave one of the blocks out.
    """

    code = "E0227"
    title = "two claims of one model"


class OtherKernels(RobspecError):
    """Something else may compute the float32 program than sums of products, each rounded once.

    `--arithmetic deployed` speaks of the float32 program as torch runs it on the CPU. What it proves of rounding
    holds for sums in any order, fused or not, and not for kernels that transform (Winograd's, Fourier's, NNPACK's) or
    that shorten float32 numbers (TF32, bfloat16). It is asked of torch which kernel each convolution gets, and which
    settings allow shortened numbers; what is not known is refused.

    Example: `torch.set_float32_matmul_precision("medium")`; ONEDNN_DEFAULT_FPMATH_MODE=BF16 in the environment;
    `torch.backends.mkldnn.flags(enabled=False)`, with which NNPACK computes batches of 16 and more.

    Mend: undo the setting that is named; or ask with `--arithmetic real`, about the function over the reals.
    """

    code = "E0228"
    title = "kernels of which no rounding is proved"
