"""How many steps a run has been charged for: written before each step, so that one that is killed counts.

The card of a model names the digest of this file. The file holds digests of the training images, so that a digest of
those alone would tell who took part to whoever can guess the rest; 256 random bits, kept nowhere else, prevent that.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from robspec.models.inspect import read_file
from robspec.models.sameness import differing
from robspec.models.writing import write_whole
from robspec.privacy.errors import NoBudget

NAME = "privacy.json"


@dataclass(slots=True)
class Ledger:
    """The steps of one run in its folder.

    Args:
        path: the file.
        planned: how many the noise was calibrated for.
        identity: what every step of a run has in common, so that one price fits all.
        charged: how many have been begun.
        salt: random, written into the file and nowhere else.
    """

    path: Path
    planned: int
    identity: Mapping[str, str]
    charged: int = 0
    salt: str = field(default_factory=lambda: secrets.token_hex(32))

    @classmethod
    def open(cls, folder: Path, planned: int, done: int, identity: Mapping[str, str]) -> Ledger:
        """Go on with a run, or begin one.

        Args:
            folder: of the run.
            planned: steps in all.
            done: steps in the checkpoint, 0 where there is none.
            identity: of the run: steps that were taken otherwise have another price.

        Raises:
            NoBudget: E0509, the file does not fit the checkpoint, or its steps are of another run.
        """
        path = folder / NAME
        charged, salt = 0, secrets.token_hex(32)
        if path.exists():
            try:
                found = json.loads(read_file(path))
                charged, theirs = int(found["charged"]), dict(found["identity"])
                salt = str(found["salt"])
            except (ValueError, KeyError, TypeError) as error:
                raise NoBudget(str(path), "it cannot be read", "begin again with --fresh") from error
            others = differing(identity, theirs)
            if charged and others:
                raise NoBudget(
                    str(path),
                    f"it charges {charged} steps of another run: other {', other '.join(others)}",
                    "restore what was changed, name another --out, or begin again with --fresh",
                )
        if charged < done:
            what = f"it tells of {charged} steps, the checkpoint of {done}"
            raise NoBudget(str(path), what, "restore the file, or begin again with --fresh")
        return cls(path, planned, identity, charged, salt)

    @property
    def left(self) -> int:
        """Steps that may still be taken."""
        return max(0, self.planned - self.charged)

    def charge(self) -> None:
        """Write down one more step, before anything of it is computed.

        Raises:
            NoBudget: E0509, none is left.
        """
        if not self.left:
            raise NoBudget(str(self.path), f"all {self.planned} steps are spent", "the run is over")
        self._write(self.charged + 1)
        self.charged += 1

    def digest(self) -> str:
        """Write the file as it stands, and give its SHA-256: what the card of the model names it by."""
        return hashlib.sha256(self._write(self.charged)).hexdigest()

    def _write(self, charged: int) -> bytes:
        entry = {
            "charged": charged,
            "planned": self.planned,
            "identity": dict(self.identity),
            "salt": self.salt,
        }
        written = json.dumps(entry).encode()
        write_whole(self.path, written)
        return written
