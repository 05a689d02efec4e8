"""Puts a certificate together from what was derived; used to write one and to check one."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

import robspec
from robspec.data.dataset import Dataset
from robspec.errors import RobspecError
from robspec.function.program import AnyProgram
from robspec.ir.serialise import to_json
from robspec.ir.types import Program
from robspec.lipschitz.derivation import Derivation
from robspec.lipschitz.ending import Ending
from robspec.lipschitz.rounding.statement import Statement
from robspec.recheck.cell_claims import by_cells
from robspec.recheck.conditions import metrics_of
from robspec.recheck.document import SCHEMA, SCHEMA_VERSION
from robspec.recheck.verdicts import overall, requirements
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2, Norm, exact_text

Prove = Callable[[AnyProgram, Norm, Norm], Derivation]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a check was asked for beside its files.

    Args:
        forward: "model" or "float64".
        batch_size: images per forward pass, on which the last bits of the logits may depend.
        assume: the constant to stand on where none can be proved, or None.
        use: the data block in place of what the specification says to use, or None.
        arithmetic: "exact", "real" or "deployed"; None for "real" where that can be had, and else "exact".
        coarse: whether bounds look at the logits before a fixed up-sampling that ends the network.
    """

    forward: str
    batch_size: int
    assume: Fraction | None
    use: str | None = None
    arithmetic: str | None = "exact"
    coarse: bool = False


@dataclass(frozen=True, slots=True)
class Before:
    """The network before a fixed up-sampling that ends it.

    Args:
        ending: what it ends in.
        delta: bound of the l2 norm of the error of one image's coarse logits; 0 where they are taken as exact.
    """

    ending: Ending
    delta: Fraction = Fraction(0)

    def shown(self) -> dict[str, Any]:
        """Where the network is cut, and what follows."""
        ending = self.ending
        return {
            "node": ending.node,
            "module": ending.module,
            "kind": ending.kind,
            "nodes": list(ending.sides),
            "pixels": list(ending.shape),
            "cells": ending.cells,
        }


def text_sha256(text: str) -> str:
    """SHA-256 of a specification as read."""
    return hashlib.sha256(text.encode()).hexdigest()


def header(
    program: Program,
    inputs: Inputs,
    spec_text: str,
    model_sha256: str,
    data: Dataset,
    rounding: Statement | None = None,
    before: Before | None = None,
) -> dict[str, Any]:
    """Everything that identifies what a certificate is about.

    Args:
        program: the compiled specification, overrides put in.
        inputs: the options.
        spec_text: the specification as read.
        model_sha256: of the model file.
        data: the data set; every file is hashed.
        rounding: of the logits, where it is proved.
        before: where the network is cut, if it is.

    Returns:
        The first fields of a certificate.
    """
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "versions": {
            "robspec": robspec.__version__,
            "python": platform.python_version(),
            "torch": metadata.version("torch"),
            "numpy": metadata.version("numpy"),
        },
        "inputs": {
            "params": {name: exact_text(value) for name, value in program.params},
            "forward": inputs.forward,
            "batch_size": inputs.batch_size,
            "assume_lipschitz": None if inputs.assume is None else exact_text(inputs.assume),
            "data": program.data.name,
            **({} if rounding is None else {"arithmetic": inputs.arithmetic}),
            **({} if before is None else {"coarse": True}),
        },
        **({} if before is None else {"cut": before.shown()}),
        "sha256": {
            "spec": text_sha256(spec_text),
            "model": model_sha256,
            "files": [{"file": name, "sha256": _of(path)} for name, path in _files(data)],
        },
        "program": to_json(program),
        "taken_for_granted": _granted(program, rounding),
    }


def _granted(program: Program, rounding: Statement | None) -> list[str]:
    detector = program.model.detector
    lines = ["the computed logits are taken for those of the real function"]
    if rounding is not None:
        lines = ["float64 is rounded to nearest"]
        if rounding.kind == "deployed":
            lines.append("float32 sums add up products in some order, fused or not, and are rounded to nearest")
        lines += ["elementary functions err by no more than is allowed for"] if rounding.assumes else []
    if detector is not None and detector.assumption:
        lines.append(f"{detector.assumption}: under attack as on the clean image")
    elif detector is not None and detector.match == "overlap" and rounding is None:
        lines.append("the computed boxes are taken for those of the real function")
    return lines


def constants(
    program: Program,
    graph: AnyProgram,
    assume: Fraction | None,
    prove: Prove,
    boxes: AnyProgram | None = None,
    rounding: Statement | None = None,
    before: Before | None = None,
) -> tuple[tuple[Constant, ...], list[dict[str, Any]], dict[str, Any] | None]:
    """Establish the constant of every property, and write down its derivation node by node.

    Args:
        program: the compiled specification.
        graph: the model's graph, without the normalisation.
        assume: the constant to stand on where none can be proved.
        prove: the prover.
        boxes: of a detector, the graph of its boxes; else None.
        rounding: of the logits, where it is proved; else None.
        before: where the network is cut, whose coarse logits get a constant beside each that is proved; or None.

    Returns:
        One constant for each property, one entry for each, and what becomes of the declared constant, or None.

    Raises:
        RobspecError: no constant can be proved and none is assumed.
    """
    found: list[Constant] = []
    entries: list[dict[str, Any]] = []
    normalize = program.model.normalize
    scale = Fraction(1) if normalize is None else min(normalize.std)
    claim = program.model.claim
    asked = [(p.query.norm, L2) for p in program.properties]
    asked += [] if claim is None else [(claim.input_norm, claim.output_norm)]
    proofs: dict[tuple[Norm, Norm], Derivation | RobspecError] = {}
    for norms in asked:
        if norms not in proofs:
            try:
                proofs[norms] = prove(graph, *norms)
            except RobspecError as refusal:
                proofs[norms] = refusal
    refused = [p for p in proofs.values() if isinstance(p, RobspecError)]
    if refused and assume is None:
        raise refused[0]
    held: dict[Norm, Derivation] = {}
    coarse: dict[Norm, Derivation] = {}
    for prop in program.properties:
        proof = proofs[prop.query.norm, L2]
        if refused or isinstance(proof, RobspecError):
            channels, height, width = program.model.input_shape
            assumed = Constant(assume or Fraction(0), L2, L2, ConstantStatus.ASSUMED)
            constant = assumed.for_input_norm(prop.query.norm, channels * height * width)
            rows: list[dict[str, Any]] = []
        else:
            constant = Constant(proof.value / scale, proof.input_norm, proof.output_norm, ConstantStatus.PROVED)
            rows = _rows(proof)
        entry: dict[str, Any] = {
            "value": exact_text(constant.value),
            "input_norm": constant.input_norm.name,
            "output_norm": constant.output_norm.name,
            "status": constant.status.value,
            "divided_by": exact_text(scale),
            "derivation": rows,
        }
        if rounding is not None:
            constant = replace(constant, rounding=rounding.delta)
            entry["rounding"] = exact_text(constant.rounding)
        if before is not None and constant.status is ConstantStatus.PROVED and any(map(by_cells, metrics_of(prop))):
            if prop.query.norm not in coarse:
                coarse[prop.query.norm] = prove(before.ending.coarse, prop.query.norm, L2)
            found_there = coarse[prop.query.norm]
            constant = replace(constant, coarse=found_there.value / scale, coarse_rounding=before.delta)
            entry["coarse"] = {"value": exact_text(found_there.value / scale), "derivation": _rows(found_there)}
            if rounding is not None:
                entry["coarse"]["rounding"] = exact_text(before.delta)
        moves = _of_boxes(program, prop.query.norm, boxes, prove, scale, held)
        if moves is not None:
            constant = replace(constant, boxes=moves[0])
            entry["boxes"] = moves[1]
            if rounding is not None:
                constant = replace(constant, boxes_rounding=rounding.boxes)
                entry["boxes"] = {**entry["boxes"], "rounding": exact_text(rounding.boxes)}
        found.append(constant)
        entries.append(entry)
    declared = None
    if claim is not None:
        proof = proofs[claim.input_norm, claim.output_norm]
        bound = None if refused or isinstance(proof, RobspecError) else proof.value / scale
        declared = {
            "claim": f"lipschitz {claim.input_norm} -> {claim.output_norm} <= {exact_text(claim.value)}",
            "bound": None if bound is None else exact_text(bound),
            "verdict": "PROVED" if bound is not None and bound <= claim.value else "NOT PROVED",
        }
    return tuple(found), entries, declared


def _of_boxes(
    program: Program,
    norm: Norm,
    graph: AnyProgram | None,
    prove: Prove,
    scale: Fraction,
    held: dict[Norm, Derivation],
) -> tuple[Fraction, dict[str, Any]] | None:
    """The constant of every coordinate of every box and its derivation, where boxes are matched and proved."""
    detector = program.model.detector
    if detector is None or detector.match != "overlap" or detector.boxes != "proved":
        return None
    if graph is None:
        raise ValueError("boxes are to be proved, and the model returns none")
    if norm not in held:
        held[norm] = prove(graph, norm, L2)
    value = held[norm].value / scale
    return value, {"value": exact_text(value), "derivation": _rows(held[norm])}


def _rows(proof: Derivation) -> list[dict[str, Any]]:
    last = {
        "walk_norm": proof.walk_norm.name,
        "conversion": proof.conversion.hex(),
        "conversion_text": proof.conversion_text,
        "bound": proof.bound.hex(),
        "folded": proof.folded,
    }
    rows: list[dict[str, Any]] = [
        {
            "node": row.name,
            "module": row.module,
            "source": row.source,
            "rule": row.rule,
            "bound": row.bound.hex(),
            "running": row.running.hex(),
            "members": list(row.members),
        }
        for row in proof.rows
    ]
    return [*rows, last]


def document(
    head: dict[str, Any],
    program: Program,
    proofs: Sequence[dict[str, Any]],
    claim: dict[str, Any] | None,
    images: Sequence[dict[str, Any]],
    points: Sequence[Sequence[Any]],
) -> dict[str, Any]:
    """Put the parts together, verdicts left to `decided`.

    Args:
        head: from `header`.
        program: the compiled specification.
        proofs: from `constants`.
        claim: from `constants`.
        images: digests of the logits.
        points: of every property, what holds of each image.

    Returns:
        The document without digest.
    """
    properties = [
        {"name": p.name, "lipschitz": proof, "images": list(found)}
        for p, proof, found in zip(program.properties, proofs, points, strict=True)
    ]
    return {**head, "lipschitz": claim, "images": list(images), "properties": properties}


def decided(derived: dict[str, Any], program: Program, written: dict[str, Any]) -> dict[str, Any]:
    """Add to every property the aggregates and verdicts that follow from the certified values of a certificate.

    Args:
        derived: from `document`.
        program: the compiled specification.
        written: the certificate that certified values are read from.

    Returns:
        The derived document with `requirements` and `verdict`.

    Raises:
        ValueError, KeyError, TypeError, IndexError: the certificate has not the form of the derived document.
    """
    full = []
    for prop, entry, other in zip(program.properties, derived["properties"], written["properties"], strict=True):
        found = requirements(prop, other["images"])
        constant, detector = entry["lipschitz"], program.model.detector
        taken = [] if constant["status"] == "proved" else [f"L <= {constant['value']} (not proved)"]
        rounded = "arithmetic" in derived["inputs"]
        frozen = "" if detector is None else detector.assumption
        taken += [f"{frozen}, where they are computed" if rounded else frozen] if frozen else []
        verdict = overall(found)
        label = f"{verdict}, assuming {' and '.join(taken)}" if taken and verdict == "PROVED" else verdict
        full.append({**entry, "requirements": found, "verdict": label})
    return {**derived, "properties": full}


def _files(data: Dataset) -> list[tuple[str, Path]]:
    found = []
    for p in data.pairs:
        found.append((p.name, p.image))
        if p.mask is not None:
            found.append((p.mask_name, p.mask))
    for p in (*data.regions, *data.weights, *data.files):
        if p.mask is not None:
            found.append((p.mask_name, p.mask))
    if data.data.objects_format == "coco":
        found.append((data.data.objects, data.root / data.data.objects))
    return found


def _of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
