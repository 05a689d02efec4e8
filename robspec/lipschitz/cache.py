"""Keeps finished derivations in the user's cache directory, keyed by the content of weights and graph."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import fx

import robspec
from robspec.function.layout import module_path, read, source_line
from robspec.function.program import AnyProgram
from robspec.kept import directory as kept_entries
from robspec.kept import keep, kept
from robspec.lipschitz.derivation import Derivation, Row
from robspec.lipschitz.prove import prove
from robspec.lipschitz.rulebook import RULES_VERSION
from robspec.semantics.norm import Norm


def cached(
    program: AnyProgram,
    *,
    input_norm: Norm,
    output_norm: Norm,
    directory: Path | None = None,
    workers: int = 1,
) -> Derivation:
    """Prove, or read an earlier proof of exactly this graph, these weights, these norms and this version of
    the rules.

    An entry that cannot be read, or whose checksum does not match, is ignored and replaced. Entries are
    written to a temporary file and renamed, so that concurrent runs see a whole entry or none.

    Args:
        program: the exported program.
        input_norm: p.
        output_norm: q.
        directory: where entries live; the user's cache directory if None.
        workers: as in `prove`.

    Returns:
        The derivation.

    Raises:
        RobspecError: as `prove`; failures are not kept.
    """
    path = folder(directory) / f"{key(program, input_norm, output_norm)}.json"
    found = _read(path)
    if found is not None and (found.input_norm, found.output_norm) == (input_norm, output_norm):
        return found
    derivation = prove(program, input_norm=input_norm, output_norm=output_norm, workers=workers)
    _write(path, derivation)
    return derivation


def folder(directory: Path | None) -> Path:
    """Where proofs are kept: the directory that is asked for, or the user's cache."""
    return directory if directory is not None else kept_entries("lipschitz")


def key(program: AnyProgram, input_norm: Norm, output_norm: Norm) -> str:
    """Hash everything a derivation depends on.

    Returns:
        A SHA-256 in hexadecimal: of the versions of robspec, its rules and torch, the norms, every node
        with its arguments, and every weight's type, shape and bytes.
    """
    layout = read(program)
    digest = hashlib.sha256()

    def feed(*parts: object) -> None:
        for part in parts:
            data = part if isinstance(part, bytes) else str(part).encode()
            digest.update(str(len(data)).encode() + b":" + data)

    feed("robspec-lipschitz", robspec.__version__, RULES_VERSION, torch.__version__, input_norm, output_norm)
    feed(layout.image.name, layout.shape, layout.axis, layout.batches, layout.dtype, layout.output.name)
    _feed_graph(feed, program.graph, layout.owners)
    for _, submodule in sorted(program.graph_module.named_modules()):
        if isinstance(submodule, fx.GraphModule) and submodule is not program.graph_module:
            _feed_graph(feed, submodule.graph, {})
    for name in sorted(layout.constants):
        value = layout.constants[name]
        if isinstance(value, torch.Tensor):
            flat = value.detach().cpu().contiguous().reshape(-1)
            feed(name, value.dtype, tuple(value.shape), flat.view(torch.uint8).numpy().tobytes())
        else:
            feed(name, repr(value))
    return digest.hexdigest()


def _feed_graph(feed: Any, graph: fx.Graph, owners: dict[str, str]) -> None:
    for node in graph.nodes:
        feed(node.op, node.name, node.target, node.args, sorted(node.kwargs.items()))
        feed(module_path(node, owners), source_line(node))


def _read(path: Path) -> Derivation | None:
    try:
        fields = kept(path)
        return None if fields is None else _decode(fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(path: Path, derivation: Derivation) -> None:
    keep(path, _encode(derivation))


def _encode(derivation: Derivation) -> dict[str, Any]:
    fields = asdict(derivation)
    for name in ("input_norm", "output_norm", "walk_norm"):
        norm: Norm = getattr(derivation, name)
        fields[name] = None if norm.p is None else str(norm.p)
    for record in (fields, *fields["rows"]):
        for name, value in record.items():
            if isinstance(value, float):
                record[name] = value.hex()
    return fields


def _decode(fields: dict[str, Any]) -> Derivation:
    rows = tuple(
        Row(
            name=str(row["name"]),
            module=str(row["module"]),
            source=str(row["source"]),
            rule=str(row["rule"]),
            bound=float.fromhex(row["bound"]),
            running=float.fromhex(row["running"]),
            members=tuple(str(member) for member in row["members"]),
            apart=None if row["apart"] is None else float.fromhex(row["apart"]),
            seconds=float.fromhex(row["seconds"]),
        )
        for row in fields["rows"]
    )
    return Derivation(
        bound=float.fromhex(fields["bound"]),
        input_norm=_norm(fields["input_norm"]),
        output_norm=_norm(fields["output_norm"]),
        walk_norm=_norm(fields["walk_norm"]),
        conversion=float.fromhex(fields["conversion"]),
        conversion_text=str(fields["conversion_text"]),
        rows=rows,
        folded=int(fields["folded"]),
        seconds=float.fromhex(fields["seconds"]),
    )


def _norm(text: str | None) -> Norm:
    return Norm(None if text is None else Fraction(text))
