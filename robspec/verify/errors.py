"""Errors a check can meet once the specification, the model and the data have each been read."""

from __future__ import annotations

from robspec.errors import RobspecError


class NonFiniteLogitsError(RobspecError):
    """The model's logits hold a NaN or an infinity on an image.

    A margin between such logits means nothing, so no bound can be computed and none is. The message names the image.
    Typical causes are an input outside the range the model was trained for, or an overflow in half precision; run the
    model on that image alone, or check with `--forward float64`.
    """

    code = "E0401"
    title = "NaN or infinite logits"


class ShapeMismatchError(RobspecError):
    """The specification and the model disagree on a shape.

    `input image [C, H, W]` and `output logits [K, H, W]` in the specification must be the model's own input and
    output shapes without the batch dimension. The message names both. Change the specification, or export the model
    for the size you mean.
    """

    code = "E0402"
    title = "specification and model disagree on a shape"


class NotProvableError(RobspecError):
    """No Lipschitz constant can be proved for the model, so nothing can be certified.

    Certificates stand on a constant that follows from the model's own graph. The message names the operation that has
    none, its module and source line, and what to do about it. Where the operation must stay and you know a constant
    from elsewhere, `--assume-lipschitz C` (l2, image to logits) stands on it, and every verdict that does reads
    `PROVED, assuming L <= C (not proved)`. Where there is no constant at all (E0501), `by smoothing { sigma 0.25 }`
    in a property in l2 asks for the model's votes under noise instead, needs none, and proves with a probability.
    """

    code = "E0403"
    title = "no Lipschitz constant can be proved"


class InfiniteMeanError(RobspecError):
    """A mean of radii contains infinity.

    A radius is infinite on an image where no number of flipped pixels meets the objective (for example
    `h < 0.9 * h0` where h0 is 0). Averaging it with finite radii would be meaningless, so robspec refuses; require a
    quantile, a minimum or a fraction of images instead: `require radius >= 0.3 for 95% of images`.
    """

    code = "E0404"
    title = "mean of radii contains infinity"


class BackendUnavailableError(RobspecError):
    """The requested kernel backend cannot run here.

    robspec never falls back silently: `--backend NAME` runs NAME or stops. The message gives the reason; `--backend
    auto`, the default, picks the fastest backend that can run and the report names it.
    """

    code = "E0405"
    title = "backend unavailable"


class UnsupportedMetricError(RobspecError):
    """The metric parses but this version has no bound for it with the given norm.

    `robspec metrics` lists what can be certified. The message names the metric and what is missing.
    """

    code = "E0406"
    title = "no bound for this metric"


class RepeatedImages(RobspecError):
    """An image occurs twice in a data set of which something is claimed `with confidence`.

    Such a claim speaks of the population the images were drawn from, one by one and independently. An image that
    occurs twice is counted twice, and a sample of n images proves as little as the different ones among them. Images
    are compared by what they decode to, not by the names or bytes of their files. Without `with confidence`, copies
    are counted as they are, and the report notes them.

    Example: `val/a.png` and its copy `val/a (1).png`, and `for 90% of images with confidence 99%`.
    Mend: remove the copies, narrow the image glob, or leave `with confidence` out.
    """

    code = "E0407"
    title = "an image counted twice in a claim with confidence"


class DeviceUnavailable(RobspecError):
    """The device that `--device` asks for cannot be used, or its memory is too small.

    `--device cuda` runs the network on the first CUDA device that torch finds, `--device cuda:N` on another, counted
    from 0. Nothing else takes its place: a build of torch for CPUs, a missing driver and a number that is too large
    each stop the check before anything is computed. `--device auto` takes the CPU where no CUDA device is found. With
    `--ray` each actor needs a GPU of its own, and a torch that can use it.

    Example: `robspec check model.pt2 spec.rspec --device cuda` with a torch whose version ends in `+cpu`.
    Mend: say `--device cpu`, or install a build of torch for your driver; of too little memory, ask for a smaller
    `--batch-size`.
    """

    code = "E0408"
    title = "device unavailable"


class CommandLineError(RobspecError):
    """A command is called in a way it does not understand: an unknown option, a missing or a superfluous argument.

    `robspec COMMAND --help` lists what it takes.
    """

    code = "E0600"
    title = "bad command line"


class ReproducerError(RobspecError):
    """A file is missing, or no reproducer.

    `robspec check --cross-check N` writes a reproducer when a bound and an independent computation disagree, and
    `robspec reproduce FILE` reads such files and no others. It never reads more than 256 MiB.
    """

    code = "E0801"
    title = "not a reproducer"


class OptionValueError(RobspecError):
    """An option on the command line has a value robspec cannot use.

    Numbers are exact decimals or fractions (`0.1`, `8/255`); `--set` takes `name=value`, the name being a `param` of
    the specification.
    """

    code = "E0601"
    title = "bad option value"


class OutputPathError(RobspecError):
    """A report or witness cannot be written where you asked.

    The path is checked before any work starts, so that nothing is lost at the end of a long run. Create the folder,
    or choose another path.
    """

    code = "E0602"
    title = "cannot write the output"


class WitnessPathError(RobspecError):
    """A witness of a refuted property cannot be written.

    The verdict stands and is in the report; only the witness file is missing. Choose another folder with
    `--witness-dir`.
    """

    code = "E0603"
    title = "cannot write a witness"


class BadWitness(RobspecError):
    """A file is no witness that `robspec replay` can show again.

    `robspec check` writes one for each refuted property into its --witness-dir, `NAME.witness.json`, and the images
    it names beside it; keep them together, and name the model and the specification they were written about.
    """

    code = "E0605"
    title = "no witness"


class BadReport(RobspecError):
    """A file is no JSON report of `robspec check`, or one of another version.

    Example: a certificate, or a report that was cut off.
    Mend: write it with `robspec check --format json --output report.json`.
    """

    code = "E0604"
    title = "no report"


class WorkerLost(RobspecError):
    """A process of `--workers N` ended again and again on the same images.

    A worker that is killed is started anew and its images are computed again, three times at most. The message names
    the images and says how the worker ended; signal 9 is how a system that is out of memory ends a process. What was
    finished before lies in the store, so the next run starts there. An actor of `--ray` that cannot begin, as on a
    machine with other versions of robspec or of what it stands on, stops the check as well.
    """

    code = "E0606"
    title = "a worker ended"


class NoCluster(RobspecError):
    """`--ray ADDRESS` names a Ray cluster, and none answers there.

    `--ray auto` joins the cluster of this machine or of RAY_ADDRESS, and starts one for the check where there is
    none; `--ray 10.0.0.1:6379` joins that one. Ray guards a cluster by a token: the same must be in RAY_AUTH_TOKEN,
    or in ~/.ray/auth_token, of every machine.
    """

    code = "E0607"
    title = "no cluster"
