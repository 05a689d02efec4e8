"""Checks a certificate: derive the whole of it anew, then compare every field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robspec.data.content import digest
from robspec.data.dataset import Batch, Dataset, open_dataset
from robspec.data.objects import Objects
from robspec.diagnostics import Source
from robspec.errors import RobspecError, SoundnessAlarm
from robspec.function.program import AnyProgram
from robspec.ir.types import Detector, Program
from robspec.lipschitz.ending import find_ending
from robspec.lipschitz.rounding.kinds import KINDS
from robspec.lipschitz.rounding.precision import Precision
from robspec.lipschitz.rounding.recursion import Box, Rounding, bound
from robspec.lipschitz.rounding.statement import Statement, state
from robspec.lower import compile_source
from robspec.models.choice import WHOLE, Choice
from robspec.models.claims import of_file
from robspec.models.conduct import Conduct, refuse_statements_about_the_file
from robspec.models.conduct_scores import DetectorConduct
from robspec.models.kernels import refuse_other_kernels
from robspec.models.loading import LoadedModel, load
from robspec.recheck import document
from robspec.recheck.assemble import Before, Inputs, constants, decided, header, text_sha256
from robspec.recheck.assemble import document as assembled
from robspec.recheck.claims import rational
from robspec.recheck.derive import Deriver, Settle
from robspec.recheck.errors import BadCertificate, CertificateRejected
from robspec.recheck.inrange import afresh
from robspec.recheck.located import Located
from robspec.recheck.rounded import uncertified
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import exact_text

MOST_AT_ONCE = 4096
"""A certificate cannot ask for more images in memory together."""


@dataclass(frozen=True, slots=True)
class Derived:
    """What follows from a model, a specification and data, ready to be compared with a certificate."""

    program: Program
    content: dict[str, Any]
    model: LoadedModel
    data: Dataset
    rounding: Statement | None = None
    unreal: str = ""
    before: Before | None = None

    def differences(self, written: dict[str, Any]) -> list[document.Difference]:
        """List what a certificate says otherwise; its own digest included."""
        found: list[document.Difference] = []
        try:
            expected = decided(self.content, self.program, written)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            return [("properties", "not readable", f"{type(error).__name__}")]
        rest = {key: value for key, value in written.items() if key != "digest"}
        found.extend(document.differences(rest, expected))
        if written.get("digest") != document.digest(written):
            found.append(("digest", str(written.get("digest"))[:80], document.digest(written)))
        return found


def derive(
    inputs: Inputs,
    params: dict[str, Fraction],
    model: Path,
    spec: Source,
    root: Path,
    *,
    arch: str | None = None,
    key: str | None = None,
    prefix: str = "",
    choice: Choice = WHOLE,
    written: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda _, __: None,
    early: list[document.Difference] | None = None,
    observe: Callable[[Batch, Tensor], None] = lambda _, __: None,
) -> Derived:
    """Derive everything a certificate can say, from the files alone.

    Args:
        inputs: the options of the check.
        params: values of the specification's params.
        model: the model file.
        spec: the specification.
        root: the folder the data globs start from.
        arch: architecture of bare weights, or None.
        key: which table of a checkpoint, with `arch`.
        prefix: what the weights' names have more, with `arch`.
        choice: which part of the model file is meant.
        written: the one certificate to compare with; each image is compared as soon as it is derived, and its costs
            are dropped. None keeps the costs of all images, to compare with any number of certificates.
        progress: told how many images are done, of how many.
        early: takes what differs as soon as it is found, for whoever does not wait to the end.
        observe: told of every batch and its logits.

    Returns:
        What holds.

    Raises:
        RobspecError: a file cannot be read.
        CertificateRejected: the specification does not compile, or does not fit the model (E0804).
    """
    program = of_file(compiled(spec, params, inputs.use), model)
    if program.privacy is not None:
        raise CertificateRejected(
            str(spec),
            "it asks for privacy, which rests on how the model was trained and not on what can be derived anew",
            "put the privacy block into a specification of its own",
        )
    loaded = load(
        model,
        arch=arch,
        key=key,
        prefix=prefix,
        choice=choice,
        input_shape=program.model.input_shape,
        normalize=program.model.normalize,
        scores=program.model.task.scores,
        detector=program.model.detector,
        boxes=bool(program.model.boxes_name),
    )
    shapes = (program.model.input_shape, program.model.output_shape)
    second = loaded.second
    places = None if second is None else (4, program.model.output_shape[-1])
    if (tuple(loaded.input_shape), tuple(loaded.output_shape)) != tuple(map(tuple, shapes)) or (
        second is not None and tuple(second.output_shape) != places
    ):
        raise CertificateRejected(
            str(model), "its shapes are not those of the specification", "name the checked model"
        )
    refuse_statements_about_the_file(
        loaded, claims=program.model.claim is not None, assumes=inputs.assume is not None
    )
    ground = _ground(program, loaded, inputs)
    inputs, rounding, found = ground.inputs, ground.rounding, ground.constants
    if written is not None:
        _match_arithmetic(written, inputs, ground.unreal)
    loaded = loaded.run_in(_type_of(inputs, loaded))
    wide = loaded.forward_dtype == torch.float64
    # Where rounding is proved, that of finer pixels to float32 is part of it.
    data = open_dataset(program.data, program.model, root, wide=wide and rounding is None)
    before = ground.before
    ending = None if before is None else before.ending
    runs = loaded
    if ending is not None:
        runs = loaded.ending_earlier(ending.coarse, (loaded.output_shape[0], *ending.sides))
    deriver = Deriver(program, found, _kept if written is None else _compared(written, early), ending)
    claims = any(r.confidence is not None for p in program.properties for r in p.requirements)
    done, met = 0, set[str]()
    detector = program.model.detector
    conduct: Conduct | DetectorConduct = Conduct(runs, scores=program.model.task.scores)
    if detector is not None:
        conduct = DetectorConduct(loaded, detector, loaded.second)
    for batch in data.batches(inputs.batch_size):
        logits = runs.logits(batch.images)
        conduct.meet(batch.names, batch.images, logits)
        if not bool(torch.isfinite(logits).all()):
            raise CertificateRejected(batch.names[0], "logits of its batch are not finite", "check the model")
        if detector is None:
            deriver.add(batch.names, logits, batch.labels, batch.region, batch.weights)
        else:
            deriver.add_located(batch.names, logits, _located(program, detector, loaded, batch, logits))
        observe(batch, logits if ending is None else ending.enlarge(logits))
        if claims:
            _refuse_copies(batch, met)
        done += len(batch.names)
        progress(done, len(data))
    conduct.finish()
    head = header(program, inputs, spec.text, loaded.sha256, data, rounding, before)
    content = assembled(head, program, ground.proofs, ground.claim, *deriver.finish())
    return Derived(program, content, loaded, data, rounding, ground.unreal, before)


@dataclass(frozen=True, slots=True)
class _Ground:
    """What everything that is derived of images stands on."""

    inputs: Inputs
    constants: tuple[Constant, ...]
    proofs: list[dict[str, Any]]
    claim: dict[str, Any] | None
    rounding: Statement | None = None
    unreal: str = ""
    before: Before | None = None


def _ground(program: Program, model: LoadedModel, inputs: Inputs) -> _Ground:
    """Prove the constants, and what rounding may do to the logits, where that is asked or can be had.

    Raises:
        CertificateRejected: E0804, rounding is asked for by name, and of this no certificate with rounding speaks.
    """
    before = _cut(program, model) if inputs.coarse else None
    if inputs.arithmetic == "exact":
        return _proved(program, model, inputs, None, before)
    unreal, rounding = uncertified(program), None
    if before is not None and inputs.arithmetic == "deployed":
        raise CertificateRejected("--coarse", "cells do not cover --arithmetic deployed", "leave one of them out")
    if not unreal:
        try:
            rounding, before = _rounding(program, model, inputs, before)
        except SoundnessAlarm:
            raise
        except RobspecError as refusal:
            if inputs.arithmetic is not None:
                raise
            unreal = f"{refusal.what} ({refusal.code}), {refusal.where}"
    if rounding is not None:
        ground = _proved(program, model, replace(inputs, arithmetic=rounding.kind), rounding, before)
        if all(map(_moves, ground.constants)):
            return ground
        unreal = "of a constant that is assumed, or 0, no certificate says what rounding may do"
    if inputs.arithmetic is not None:
        mend = "check and recheck with --arithmetic exact"
        raise CertificateRejected(f"--arithmetic {inputs.arithmetic}", unreal, mend)
    exact = replace(inputs, arithmetic="exact")
    before = None if before is None else Before(before.ending)
    return replace(_proved(program, model, exact, None, before), unreal=unreal)


def _cut(program: Program, model: LoadedModel) -> Before:
    """Find where a fixed up-sampling ends the network.

    Raises:
        CertificateRejected: E0804, it ends otherwise.
    """
    ending = find_ending(model.program)
    if ending is None or ending.shape != tuple(program.model.output_shape[1:]):
        what = "the network does not end in a fixed up-sampling"
        raise CertificateRejected("--coarse", what, "check and recheck without it")
    return Before(ending)


def _moves(constant: Constant) -> bool:
    """Whether a proved constant is not 0 where something is rounded."""
    still = (constant.rounding and not constant.value) or (constant.boxes_rounding and not constant.boxes)
    return constant.status is ConstantStatus.PROVED and not still


def _proved(
    program: Program, model: LoadedModel, inputs: Inputs, rounding: Statement | None, before: Before | None
) -> _Ground:
    prover = afresh(program, wide=_type_of(inputs, model) == torch.float64)
    boxes = None if model.second is None else model.second.program
    found = constants(program, model.program, inputs.assume, prover, boxes, rounding, before)
    return _Ground(inputs, *found, rounding, "", before)


def _type_of(inputs: Inputs, model: LoadedModel) -> torch.dtype:
    return torch.float64 if inputs.forward == "float64" or inputs.arithmetic != "exact" else model.dtype


def _rounding(
    program: Program, model: LoadedModel, inputs: Inputs, before: Before | None
) -> tuple[Statement, Before | None]:
    """Prove anew what rounding may do to the logits, and to coarse ones where the network is cut."""
    if inputs.arithmetic == "deployed":
        for part in (model, model.second):
            if part is not None:
                refuse_other_kernels(part, inputs.batch_size)

    def afresh(graph: AnyProgram, box: Box, precision: Precision) -> Rounding:
        return bound(graph, box, (precision,))[0]

    boxes = None if model.second is None else model.second.program
    kind = inputs.arithmetic or "real"
    found = state(program, model.program, kind, afresh, boxes)
    if before is None:
        return found, None
    if before.ending.moved is not None:
        # What is run is another program for the same function: both are within the larger of two bounds.
        other = state(program, before.ending.moved, kind, afresh)
        found = other if other.delta > found.delta else found
    return found, Before(before.ending, state(program, before.ending.coarse, kind, afresh).delta)


def _located(program: Program, detector: Detector, model: LoadedModel, batch: Batch, logits: Tensor) -> list[Located]:
    """Put the images of a batch together as a detector sees them."""
    boxes = None
    if model.second is not None:
        found = model.second.logits(batch.images)
        if not bool(torch.isfinite(found).all()):
            raise CertificateRejected(batch.names[0], "boxes of its batch are not finite", "check the model")
        boxes = found.detach().cpu().double().numpy()[:, :, 0, :].transpose(0, 2, 1)
    scores = logits.detach().cpu().double().numpy()[:, :, 0, :]
    sides = program.model.input_shape[1:]
    nothing = Objects(np.empty((0, 4)), np.empty(0, np.int64), np.empty(0, np.bool_), np.empty(0, np.bool_))
    marked = batch.objects or (nothing,) * len(scores)
    return [
        Located.of(z, None if boxes is None else boxes[i], each, detector, sides)
        for i, (z, each) in enumerate(zip(scores, marked, strict=True))
    ]


def compiled(spec: Source, params: Mapping[str, Fraction], use: str | None = None) -> Program:
    """Compile the specification, with what is put in place of its params and of the data block it uses.

    Raises:
        CertificateRejected: E0804, it does not compile, or asks of samples.
        BadOverride: E0013, it has no such param, or no such data block.
    """
    program, _ = compile_source(spec, params, use)
    if program is None:
        raise CertificateRejected(spec.name, "the specification does not compile", "use the one that was checked")
    sampled = [prop.name for prop in program.properties if prop.smoothing is not None]
    if sampled:
        raise CertificateRejected(
            spec.name,
            f"property {sampled[0]} is answered by smoothing, of which no certificate speaks",
            "recheck a specification of the other properties alone",
        )
    return program


def _refuse_copies(batch: Batch, met: set[str]) -> None:
    """A claim with confidence speaks of independent draws: no image may be counted twice."""
    for name, image in zip(batch.names, batch.images, strict=True):
        found = digest(image)
        if found in met:
            raise CertificateRejected(
                name,
                "it holds the same pixels as another image, and something is claimed `with confidence`",
                "remove the copy, and check again",
            )
        met.add(found)


def _kept(_: int, __: int, entry: dict[str, Any]) -> Any:
    return entry


def _compared(written: dict[str, Any], early: list[document.Difference] | None) -> Settle:
    """Compare every entry with what is written of it."""

    def settle(number: int, image: int, entry: dict[str, Any]) -> document.Settled:
        try:
            told = written["properties"][number]["images"][image]
        except (KeyError, IndexError, TypeError):
            # The lists are of other lengths, or no lists: the comparison of the whole says so.
            told = None
        at = f"properties[{number}].images[{image}]"
        found = tuple(document.differences(told, entry, at))
        if early is not None:
            early.extend(found)
        return document.Settled(told, found)

    return settle


def match_spec(certificate: dict[str, Any], spec: Source) -> None:
    """Stop where a certificate is of another specification.

    Raises:
        CertificateRejected: E0804, with both digests.
    """
    digests = certificate.get("sha256")
    there = digests.get("spec") if isinstance(digests, dict) else None
    here = text_sha256(spec.text)
    if there != here:
        raise CertificateRejected(
            spec.name,
            f"the certificate is of another specification: sha256.spec is {str(there)[:64]}, of this file {here}",
            "name the very file that was checked; one that was edited since needs checking again",
        )


def match_question(certificate: dict[str, Any], program: Program, inputs: Inputs, where: str) -> None:
    """Stop where a certificate answers another question than the specification and the options ask.

    Nothing that decides what is claimed is taken from a certificate: a budget, an assumed constant, another
    arithmetic or other batches than asked for make it a certificate of something else.

    Args:
        certificate: what is claimed.
        program: the compiled specification, with what `--set` and `--use` put in place of what it says.
        inputs: the options of `recheck`.
        where: the certificate.

    Raises:
        BadCertificate: E0802, it does not say how it was made.
        CertificateRejected: E0804, with everything in which it differs.
    """
    params = dict(program.params)
    there, chosen = inputs_of(certificate, where)
    found, options, without = [], list[str](), list[str]()
    sets, named = [data.name for data in (program.data, *program.others)], there.use or ""
    if sets != [named]:
        found.append(f"it is about data {_short(named)}, and the specification asks about {' and '.join(sets)}")
        options.append(f"--use {_short(named)}")
    for name in sorted({*params, *chosen}):
        ours, theirs = _text(params.get(name)), _text(chosen.get(name))
        if ours != theirs:
            found.append(f"param {name} is {_short(theirs)} there, and {_short(ours)} in the specification")
            options += [f"--set {name}={_short(theirs)}"] if name in params and name in chosen else []
    for option, theirs, ours in (
        ("--assume-lipschitz", _text(there.assume), _text(inputs.assume)),
        ("--forward", there.forward, inputs.forward),
        ("--arithmetic", there.arithmetic, _asked_arithmetic(inputs, there)),
        ("--batch-size", str(there.batch_size), str(inputs.batch_size)),
    ):
        if theirs != ours:
            found.append(f"{option} was {_short(theirs)}, and is {_short(ours)} here")
            (options if theirs else without).append(f"{option} {_short(theirs)}" if theirs else option)
    if there.coarse != inputs.coarse:
        given, missing = ("given", "not given") if there.coarse else ("not given", "given")
        found.append(f"--coarse was {given}, and is {missing} here")
        (options if there.coarse else without).append("--coarse")
    if found:
        mends = [f"say so to `recheck` too: {' '.join(options)}"] if options else []
        mends += [f"leave out {' and '.join(without)}"] if without else []
        raise CertificateRejected(
            where,
            "it answers another question: " + "; ".join(found),
            f"if that is the question, {', and '.join(mends)}" if mends else "check again",
        )


def _asked_arithmetic(inputs: Inputs, there: Inputs) -> str | None:
    """What is asked by name; whether the reals can be had, where nobody said anything, is derived with the rest."""
    return there.arithmetic if inputs.arithmetic is None and there.arithmetic != "deployed" else inputs.arithmetic


def _match_arithmetic(certificate: dict[str, Any], inputs: Inputs, unreal: str) -> None:
    """Stop where a certificate makes another statement about arithmetic than what was asked for, or can be had."""
    there, _ = inputs_of(certificate, "certificate")
    if there.arithmetic != inputs.arithmetic:
        why = f", as {unreal}" if unreal else ""
        raise CertificateRejected(
            "certificate",
            f"it answers another question: --arithmetic was {there.arithmetic}, and is {inputs.arithmetic} here{why}",
            f"if that is the question, say so to `recheck` too: --arithmetic {there.arithmetic}",
        )


def _text(value: Fraction | None) -> str | None:
    return None if value is None else exact_text(value)


def _short(text: str | None) -> str:
    return "none" if text is None else text if len(text) <= 40 else f"{text[:37]}..."


def inputs_of(certificate: dict[str, Any], where: str) -> tuple[Inputs, dict[str, Fraction]]:
    """Read the options a certificate was written with; `use` is the data block it is about.

    Raises:
        BadCertificate: E0802, they are not there.
    """
    try:
        given = certificate["inputs"]
        assume = given["assume_lipschitz"]
        params = {str(name): rational(text) for name, text in given["params"].items()}
        constant = None if assume is None else rational(assume)
        known = constant if isinstance(constant, Fraction) else None
        arithmetic = given.get("arithmetic", "exact")
        coarse = given.get("coarse", False)
        read = Inputs(given["forward"], given["batch_size"], known, str(given["data"]), arithmetic, coarse)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadCertificate(where, "it does not say how it was made", "check again") from error
    sized = type(read.batch_size) is int and 1 <= read.batch_size <= MOST_AT_ONCE
    sized &= assume is None or (read.assume is not None and read.assume > 0)
    exact = {name: value for name, value in params.items() if isinstance(value, Fraction)}
    sized &= read.arithmetic in KINDS and type(read.coarse) is bool
    if not sized or read.forward not in ("model", "float64") or len(exact) < len(params):
        raise BadCertificate(where, "it does not say how it was made", "check again")
    return read, exact
