"""Which Lipschitz constants a check stands on: proved from the graph, or assumed because nothing could be proved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch

from robspec.bounds import cell_ratios
from robspec.bounds.counting import has_cells
from robspec.errors import RobspecError, SoundnessAlarm
from robspec.function.errors import NotFinite
from robspec.function.program import AnyProgram
from robspec.ir.plans import Pooled, PooledMean
from robspec.ir.types import LipschitzClaim, Normalize, Program, Property
from robspec.lipschitz import overflow
from robspec.lipschitz.cache import cached
from robspec.lipschitz.derivation import Derivation
from robspec.lipschitz.errors import NoGlobalConstant
from robspec.lipschitz.measure import measure
from robspec.lipschitz.other_ends import other_end
from robspec.lipschitz.pair import ClaimStatus, decide_claim
from robspec.lipschitz.rounding.images import box_of
from robspec.lipschitz.tail import find
from robspec.models.loading import LoadedModel
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2, Norm, directed_text
from robspec.verify.arithmetic import rounding_of, with_rounding
from robspec.verify.errors import NotProvableError, OptionValueError
from robspec.verify.established import Established
from robspec.verify.evaluate import is_pooled, metrics_of
from robspec.verify.result import ClaimResult, Verdict
from robspec.verify.smoothed import answerable

_SEARCH_SECONDS = 10.0
_NONE = Constant(Fraction(0), L2, L2, ConstantStatus.SAMPLED)
"""Where nothing asks for a constant."""
_SAMPLES = (
    "smoothing: the verdict is about the classifier that takes a vote under noise, with the probability stated; "
    "noise and forward passes are taken to be real numbers, and the images not to be chosen by who knows the noise"
)
_NO_FUNCTION = ("E0503", "E0504")
"""Refusals of programs that are no function of one image."""


def establish(
    program: Program,
    graph: AnyProgram,
    *,
    assume: Fraction | None,
    starts: Iterable[npt.NDArray[np.floating]] | None = None,
    boxes: AnyProgram | None = None,
    wide: bool = False,
) -> Established:
    """Prove the constants a specification needs from the model's own graph, and decide its claim.

    Args:
        program: the compiled specification.
        graph: the exported program the logits come from, without the specification's normalisation.
        assume: `--assume-lipschitz`, an l2 constant to stand on where the graph cannot be analysed, or None.
        starts: images, normalised, from which a search for a counterexample to the claim starts.
        boxes: of a detector, the program its boxes come from; else None.
        wide: whether the network is run in float64.

    Returns:
        A proved constant for each property's norm, rounded up; an assumed one only where the proof is refused and
        `assume` is given.

    Raises:
        NotProvableError: the graph has no provable constant and none is assumed (E0403).
        SoundnessAlarm: a measured pair exceeds the proved bound (E0901).
    """
    found = _with_samples(program, _of_scores(program, graph, assume=assume, starts=starts, wide=wide), graph)
    detector = program.model.detector
    if detector is None or detector.match == "location":
        return found
    moves = _of_boxes(program, boxes, wide=wide) if detector.boxes == "proved" else {}
    notes = [f"boxes: L = {directed_text(v, 6, up=True)} pixels, {norm} to l2, proved" for norm, v in moves.items()]
    constants = tuple(
        replace(c, boxes=moves.get(p.query.norm, Fraction(0)), assuming=detector.assumption)
        for c, p in zip(found.constants, program.properties, strict=True)
    )
    return replace(found, constants=constants, notes=(*found.notes, *notes))


def rounded(
    program: Program,
    found: Established,
    graph: AnyProgram,
    boxes: AnyProgram | None,
    arithmetic: str,
    *,
    certified: bool = False,
) -> Established:
    """Put beside each constant how far what is computed in float64 may be from what verdicts are about.

    Args:
        program: the compiled specification.
        found: the constants, of a network that is run in float64.
        graph: the exported program the logits come from, without the specification's normalisation.
        boxes: of a detector, the program its boxes come from; else None.
        arithmetic: "exact", where nothing changes; or "real" or "deployed", what verdicts are about.
        certified: whether a certificate is to be written.

    Raises:
        NoRoundingRule: E0507, some operation has no bound on its rounding.
        NotProvableError: E0403, some operation has no constant.
        OptionValueError: E0601, of such a constant nothing is known of rounding, or nothing a certificate could hold.
    """
    if arithmetic == "exact":
        return found
    stated = rounding_of(program, graph, arithmetic, boxes)
    constants = with_rounding(found.constants, stated.delta)
    still = any((c.rounding and not c.value) or (stated.boxes and not c.boxes) for c in constants)
    if certified and still:
        what = "the network is constant, and of its rounding no certificate speaks"
        raise OptionValueError("--certificate", what, "leave out --certificate, or say --arithmetic exact")
    notes = found.notes
    if stated.boxes:
        off = directed_text(stated.boxes, 12, up=True)
        notes += (f"boxes: computed within {off} pixels of the function's, proved",)
    constants = tuple(
        replace(c, boxes_rounding=stated.boxes, assuming=c.assuming and f"{c.assuming}, where they are computed")
        for c in constants
    )
    return replace(found, constants=constants, arithmetic=stated.said, notes=notes)


def with_coarse(program: Program, found: Established, graph: AnyProgram, arithmetic: str = "exact") -> Established:
    """Prove a constant of the logits before a fixed up-sampling, beside each constant that is proved.

    Over the reals the up-sampling is exact, so that its coarse logits bring their own rounding. Full-size logits that
    are made of them, by torch or exactly, are covered by the rounding of the whole: a node need not err as far as it
    may.

    Args:
        program: the compiled specification.
        found: the constants of the full-size logits, with their rounding.
        graph: the exported program these come from, without the specification's normalisation.
        arithmetic: "exact", or "real", what verdicts are about.

    Returns:
        The same with `tail`, and with `coarse` in every proved constant.

    Raises:
        OptionValueError: E0601, the network does not end so, or no property gains by it.
        NotProvableError: E0403, some operation has no bound of its rounding.
    """
    if not gains_by_cells(program, found):
        raise OptionValueError(
            "--coarse",
            "cells are looked at for pixel_accuracy, stability and ratios of counts of a class, pooled or not, where "
            "the constant is proved, and for nothing else",
            "leave it out: every property is bounded by its full-size logits",
        )
    tail = find(graph)
    if tail is None or tail.grid.shape != tuple(program.model.output_shape[1:]):
        last, wanted = other_end(graph)
        raise OptionValueError(
            "--coarse",
            "the network does not end in a fixed up-sampling (bilinear, bicubic, nearest, or a transposed "
            "convolution that treats every class alike), with nothing but crops and 1 x 1 convolutions after it: "
            f"it ends in {last}",
            f"leave it out, or export the network so that {wanted}",
        )
    tightest, _ = scales(program.model.normalize)
    pairs = zip(program.properties, found.constants, strict=True)
    norms = dict.fromkeys(c.input_norm for p, c in pairs if _over_cells(p, c))
    values = {norm: _prove(tail.coarse, norm, L2).value / tightest for norm in norms}
    delta = Fraction(0) if arithmetic == "exact" else rounding_of(program, tail.coarse, arithmetic).delta
    if arithmetic != "exact" and tail.moved is not None:
        # What is run is another program for the same function: both are within the larger of two bounds.
        other = rounding_of(program, tail.moved, arithmetic)
        if any(c.rounding < other.delta for c in found.constants):
            larger = tuple(replace(c, rounding=max(c.rounding, other.delta)) for c in found.constants)
            found = replace(found, constants=larger, arithmetic=other.said)
    constants = tuple(
        replace(c, coarse=values[c.input_norm], coarse_rounding=delta) if _over_cells(p, c) else c
        for p, c in zip(program.properties, found.constants, strict=True)
    )
    notes = [
        f"coarse: cut at {tail.text}; L = {directed_text(v, 9, up=True)}, {norm} to l2, proved there"
        for norm, v in values.items()
    ]
    if delta:
        off = directed_text(delta, 12, up=True)
        notes.append(f"coarse: logits there in float64 are within {off} of the function's (l2), proved")
    return replace(found, constants=constants, tail=tail, notes=(*found.notes, *notes))


def gains_by_cells(program: Program, found: Established) -> bool:
    """Tell whether any property has a bound over cells."""
    return any(_over_cells(p, c) for p, c in zip(program.properties, found.constants, strict=True))


def before_tail(model: LoadedModel) -> LoadedModel:
    """Give the network up to the fixed up-sampling that ends it; the network itself where it ends otherwise."""
    tail = find(model.program)
    return model if tail is None else model.ending_earlier(tail.coarse, (model.output_shape[0], *tail.sides))


def _over_cells(prop: Property, constant: Constant) -> bool:
    """Whether a property has a bound over cells."""
    if constant.status is not ConstantStatus.PROVED or constant.output_norm != L2:
        return False
    metrics = list(metrics_of(prop.query))
    if is_pooled(prop):
        return any(isinstance(m.plan, Pooled | PooledMean) and not m.weighted for m in metrics)
    return any(has_cells(m) or cell_ratios.has_cells(m) for m in metrics)


def _with_samples(program: Program, found: Established, graph: AnyProgram) -> Established:
    """Put what samples stand for in the place of constants that no property asks for."""
    if all(p.smoothing is None for p in program.properties):
        return found
    apart = _is_function_of_one_image(graph)
    pairs = list(zip(program.properties, found.constants, strict=True))
    proofs = found.proofs or (None,) * len(pairs)
    return replace(
        found,
        constants=tuple(c if p.smoothing is None else p.smoothing.standing for p, c in pairs),
        proofs=tuple(
            proof if p.smoothing is None else None for p, proof in zip(program.properties, proofs, strict=True)
        ),
        notes=(*found.notes, _SAMPLES),
        apart=apart,
    )


def _is_function_of_one_image(graph: AnyProgram) -> bool:
    """Tell whether it is proved that an image's logits depend on the image alone; stop where they do not.

    A proof ends at the first node without a constant, so that nothing is known of what comes after it.
    """
    try:
        _prove(graph, L2, L2)
    except SoundnessAlarm:
        raise
    except RobspecError as refusal:
        if refusal.code in _NO_FUNCTION:
            raise NotProvableError(
                refusal.where,
                f"smoothing needs a function of one image: {refusal.what} ({refusal.code})",
                refusal.mend,
            ) from refusal
        return False
    return True


def _of_boxes(program: Program, graph: AnyProgram | None, *, wide: bool) -> dict[Norm, Fraction]:
    """A constant of every coordinate of every box, for each norm that is asked about."""
    tightest, _ = scales(program.model.normalize)
    if graph is None:
        raise ValueError("boxes are to be proved, and the model returns none")
    try:
        proofs = {p.query.norm: _prove(graph, p.query.norm, L2) for p in program.properties}
        _refuse_overflow(program, graph, proofs, wide=wide)
        return {norm: proof.value / tightest for norm, proof in proofs.items()}
    except SoundnessAlarm:
        raise
    except RobspecError as refusal:
        raise NotProvableError(
            refusal.where,
            f"no Lipschitz constant can be proved for the boxes: {refusal.what} ({refusal.code})",
            f"{refusal.mend}; or write `boxes frozen`, an assumption that every verdict names",
        ) from refusal


def _of_scores(
    program: Program,
    graph: AnyProgram,
    *,
    assume: Fraction | None,
    starts: Iterable[npt.NDArray[np.floating]] | None,
    wide: bool,
) -> Established:
    norms = {p.query.norm for p in program.properties if p.smoothing is None}
    claim = program.model.claim
    try:
        proofs = {norm: _prove(graph, norm, L2) for norm in norms}
        _refuse_overflow(program, graph, proofs, wide=wide)
        claimed = None if claim is None else _prove(graph, claim.input_norm, claim.output_norm)
    except SoundnessAlarm:
        raise
    except RobspecError as refusal:
        return _assumed(program, assume, refusal)
    tightest, widest = scales(program.model.normalize)
    constants = {norm: _constant(proof, tightest) for norm, proof in proofs.items()}
    notes = ("--assume-lipschitz is not used: the constant is proved",) if assume is not None else ()
    claims: tuple[ClaimResult, ...] = ()
    if claim is not None and claimed is not None:
        claims = (_decide(claim, claimed, graph, program, tightest, widest, starts),)
    used = [p.query.norm for p in program.properties]
    return Established(
        tuple(constants.get(n, _NONE) for n in used), claims, notes, tuple(proofs.get(n) for n in used)
    )


def _refuse_overflow(program: Program, graph: AnyProgram, proofs: Mapping[Norm, Derivation], *, wide: bool) -> None:
    """Stop where numbers inside the network may leave their type's range, and something after them hide it."""
    if not proofs:
        return
    box = box_of(program)
    parts = (torch.tensor(part, dtype=torch.float64) for part in (box.middle, box.radius))
    node = overflow.cached(graph, next(iter(proofs.values())), *parts, wide=wide)
    if node is not None:
        raise NotFinite(
            f"node {node}",
            "numbers there may leave the range of their type for some image in range",
            "scale the weights around it"
            + ("" if wide else ", or run the network in float64 with --forward float64"),
        )


def _prove(graph: AnyProgram, input_norm: Norm, output_norm: Norm) -> Derivation:
    return cached(graph, input_norm=input_norm, output_norm=output_norm)


def scales(normalize: Normalize | None) -> tuple[Fraction, Fraction]:
    """Smallest and largest standard deviation the images are divided by; 1 and 1 without normalisation."""
    if normalize is None:
        return Fraction(1), Fraction(1)
    return min(normalize.std), max(normalize.std)


def _constant(proof: Derivation, tightest: Fraction) -> Constant:
    notes = [proof.conversion_text] if proof.conversion_text else []
    if tightest != 1:
        notes.append(f"normalisation multiplies it by 1/min(std) = {directed_text(1 / tightest, 6, up=True)}")
    value = proof.value / tightest
    return Constant(value, proof.input_norm, proof.output_norm, ConstantStatus.PROVED, "; ".join(notes))


def _decide(
    claim: LipschitzClaim,
    proof: Derivation,
    graph: AnyProgram,
    program: Program,
    tightest: Fraction,
    widest: Fraction,
    starts: Iterable[npt.NDArray[np.floating]] | None,
) -> ClaimResult:
    text = f"lipschitz {claim.input_norm} -> {claim.output_norm} <= {directed_text(claim.value, 9, up=False)}"
    bound = proof.value / tightest
    if bound <= claim.value:
        return ClaimResult(text, claim.value, bound, None, Verdict.PROVED, "the proved bound meets it", None)
    searched = search_range(program)
    if searched is None:
        reason = "no value is in every channel's normalised range, so no pair was searched; the proved bound is used"
        return ClaimResult(text, claim.value, bound, None, Verdict.UNKNOWN, reason, None)
    pair = measure(
        graph,
        input_norm=claim.input_norm,
        output_norm=claim.output_norm,
        images=starts,
        input_range=searched,
        seconds=_SEARCH_SECONDS,
    )
    # The pair is in normalised units: in image units its distance is at most the largest std times it.
    status = decide_claim(claim.value * widest, proof, pair)
    verdict = Verdict.REFUTED if status is ClaimStatus.REFUTED else Verdict.UNKNOWN
    lower = Fraction(pair.lower) / widest
    reasons = {
        Verdict.REFUTED: "a stored pair of images moves the logits further",
        Verdict.UNKNOWN: "the claim lies between what was measured and what is proved; the proved bound is used",
    }
    kept = pair if verdict is Verdict.REFUTED else None
    return ClaimResult(text, claim.value, bound, lower, verdict, reasons[verdict], kept)


def search_range(program: Program) -> tuple[float, float] | None:
    """Range of the normalised images that is inside that of every channel, None where there is none."""
    low, high, normalize = program.model.low, program.model.high, program.model.normalize
    if normalize is None:
        return float(low), float(high)
    pairs = list(zip(normalize.mean, normalize.std, strict=True))
    bottom, top = max((low - m) / s for m, s in pairs), min((high - m) / s for m, s in pairs)
    # A pair outside the declared range would refute a claim that does not speak of it.
    return (float(bottom), float(top)) if bottom < top else None


def _assumed(program: Program, assume: Fraction | None, refusal: RobspecError) -> Established:
    if assume is None:
        # No constant describes a model that jumps or whose images depend on each other, so none can be assumed.
        senseless = refusal.code in _NO_FUNCTION or (isinstance(refusal, NoGlobalConstant) and refusal.jumps)
        assumption = "" if senseless else "; or stand on an assumption with --assume-lipschitz C"
        # Votes under noise need a function of one image, and no constant of it.
        if isinstance(refusal, NoGlobalConstant) and any(answerable(p, program.model) for p in program.properties):
            assumption += "; or ask `by smoothing { sigma 0.25 }`"
        raise NotProvableError(
            refusal.where,
            f"no Lipschitz constant can be proved for this model: {refusal.what} ({refusal.code})",
            f"{refusal.mend}{assumption}",
        ) from refusal
    note = f"--assume-lipschitz, because {refusal.what} ({refusal.code}, {refusal.where})"
    constant = Constant(assume, L2, L2, ConstantStatus.ASSUMED, note)
    channels, height, width = program.model.input_shape
    size = channels * height * width
    constants = tuple(constant.for_input_norm(p.query.norm, size) for p in program.properties)
    claim = program.model.claim
    if claim is None:
        return Established(constants)
    text = f"lipschitz {claim.input_norm} -> {claim.output_norm} <= {directed_text(claim.value, 9, up=False)}"
    result = ClaimResult(text, claim.value, None, None, Verdict.UNKNOWN, "the graph cannot be analysed", None)
    return Established(constants, (result,))
