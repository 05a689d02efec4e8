"""What a specification of several models claims of the one at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath

from robspec.ir.print import claim_text, privacy_text
from robspec.ir.types import Program
from robspec.models.errors import SeveralClaims
from robspec.notes import Note

_DIGEST = "sha256:"


def of_file(program: Program, file: Path) -> Program:
    """Give a program the claim that is about one model file, where it has claims of single files.

    Args:
        program: the compiled specification.
        file: the model file; a name matches where the last parts of its path are those of the name.

    Returns:
        The program with that claim, or without one where it has none.

    Raises:
        SeveralClaims: E0227, two blocks are about this file.
    """
    if not program.model.claims_of_files:
        return program
    digest = ""
    if any(c.file.startswith(_DIGEST) for c in program.model.claims_of_files) and file.is_file():
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    meant = [c for c in program.model.claims_of_files if _is_meant(c.file, file, digest)]
    if len(meant) > 1:
        names = " and ".join(f'`model "{c.file}"`' for c in meant[:2])
        raise SeveralClaims(str(file), f"{names} are both about this file", "leave one of them out")
    return replace(program, model=replace(program.model, claim=meant[0].claim if meant else None))


def _is_meant(name: str, file: Path, digest: str) -> bool:
    if name.startswith(_DIGEST):
        return bool(digest) and digest.startswith(name.removeprefix(_DIGEST).lower())
    parts = PurePath(name).parts
    return bool(parts) and file.absolute().parts[-len(parts) :] == parts


def passed_over(program: Program, file: Path, *, ignored: bool) -> tuple[Note, ...]:
    """Say which claims are not looked at.

    Args:
        program: of `of_file`.
        file: the model file.
        ignored: whether every claim is left aside, as `--claims ignore` has it.

    Returns:
        A note where there are any.
    """
    return tuple(_passed_over(program, file, ignored))


def _passed_over(program: Program, file: Path, ignored: bool) -> Iterator[Note]:
    model = program.model
    if ignored and model.claim is not None:
        text = f"its claim ({claim_text(model.claim)}) is left aside, and not decided, as --claims ignore says"
        yield Note("claim-left-aside", f"model {file}", text, {"claims": (claim_text(model.claim),)})
    if ignored and program.privacy is not None:
        text = f"what is asked of its training ({privacy_text(program.privacy)}) is left aside, and not decided, as "
        text += "--claims ignore says"
        yield Note("privacy-left-aside", f"model {file}", text, {"privacy": privacy_text(program.privacy)})
    others = [c for c in model.claims_of_files if c.claim is not model.claim]
    if others:
        named = "; ".join(f"of {c.file}: {claim_text(c.claim)}" for c in others)
        text = f"what is claimed of other models was not looked at ({named})"
        yield Note("claim-of-another-model", f"model {file}", text, {"models": tuple(c.file for c in others)})
