"""How many steps a run has been charged for: written before each step, so that one that is killed counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from robspec.models.inspect import read_file
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
    """

    path: Path
    planned: int
    identity: Mapping[str, str]
    charged: int = 0

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
        charged = 0
        if path.exists():
            try:
                found = json.loads(read_file(path))
                charged, theirs = int(found["charged"]), dict(found["identity"])
            except (ValueError, KeyError, TypeError) as error:
                raise NoBudget(str(path), "it cannot be read", "begin again with --fresh") from error
            differing = sorted(k for k in identity.keys() | theirs.keys() if identity.get(k) != theirs.get(k))
            if charged and differing:
                raise NoBudget(
                    str(path),
                    f"it charges {charged} steps of another run: {', '.join(differing)} differ",
                    "restore what was changed, name another --out, or begin again with --fresh",
                )
        if charged < done:
            what = f"it tells of {charged} steps, the checkpoint of {done}"
            raise NoBudget(str(path), what, "restore the file, or begin again with --fresh")
        return cls(path, planned, identity, charged)

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
        entry = {"charged": self.charged + 1, "planned": self.planned, "identity": dict(self.identity)}
        write_whole(self.path, json.dumps(entry).encode())
        self.charged += 1
