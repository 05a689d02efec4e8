"""Opens what a check works on, but for the model where enough of it is remembered."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from robspec.ir.types import Program
from robspec.models.choice import Choice
from robspec.models.inspect import Kind, read_file, recognise
from robspec.session import remembered
from robspec.session.opening import Session, images_of, weights_notes
from robspec.verify.backend import choose
from robspec.verify.result import Times

if TYPE_CHECKING:
    from robspec.models.loading import LoadedModel


def reopened(
    opening: Callable[..., Session],
    program: Program,
    model: Path,
    spec: Path,
    *,
    data: Path | None,
    backend: str,
    forward: str,
    arithmetic: str | None,
    unreal: str,
    limit: int | None,
    choice: Choice,
) -> Session:
    """Open a check of an archive whose model need not be opened where all of its logits are kept.

    Args:
        opening: opens everything; takes `like`, as `open_session` does. What it was told beside the other arguments
            must not decide constants or logits.
        program: the compiled specification.
        model: the model file.
        spec: the specification file.
        data: another folder for the data globs to start from, or None.
        backend: a backend's name, or "auto".
        forward: "model" or "float64".
        arithmetic: "exact", "real" or None.
        unreal: why nothing about the reals can be had; or empty.
        limit: how many images to look at, or None for all.
        choice: which part of the model file is meant.

    Returns:
        The session; one whose model is opened, and remembered from now on, where it is not yet.

    Raises:
        RobspecError: the model, the data or an option is wrong.
    """
    began = time.perf_counter()
    blob = read_file(model)
    if recognise(blob, str(model)) is not Kind.EXPORTED:
        return opening()
    sha256 = hashlib.sha256(blob).hexdigest()
    del blob
    name = remembered.key(program, sha256, choice, forward=forward, arithmetic=arithmetic, unreal=unreal)
    if name is None:
        return opening()
    found = remembered.recall(name)
    if found is None:
        session = opening()
        if session.identity is None and session.model.sha256 == sha256:
            wide = session.arithmetic != "exact" or forward == "float64"
            remembered.remember(name, session, wide, weights_notes(session.model, None, ""))
        return session
    unopened = remembered.Unopened(model, sha256, found, partial(opening, like=None))
    images, notes, left = images_of(program, spec, data, limit)
    spent = time.perf_counter() - began
    return Session(
        cast("LoadedModel", unopened),
        replace(images, wide=found.wide and found.arithmetic == "exact"),
        choose(backend),
        found.established,
        (*found.notes, images.scaling, *notes),
        Times(load=spent, total=spent),
        left,
        arithmetic=found.arithmetic,
        identity=found.identity,
    )
