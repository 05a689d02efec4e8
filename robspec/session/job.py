"""What a process that holds the model has to know to find bounds: it proves nothing anew."""

from __future__ import annotations

import json
from dataclasses import dataclass

from robspec.errors import SoundnessAlarm
from robspec.ir import serialise
from robspec.ir.types import Program
from robspec.semantics.constant import Constant


@dataclass(frozen=True, slots=True)
class Job:
    """The questions of a check, and what was established of the model.

    Args:
        program: the compiled specification.
        constants: of each property, as the first process proved or assumed them.
        backend: a kernel backend's name, or "auto".
        pair_bound: whether to compare with the pair bound.
    """

    program: Program
    constants: tuple[Constant, ...]
    backend: str
    pair_bound: bool

    def text(self) -> str:
        """Write it as JSON, every rational as numerator and denominator.

        Raises:
            SoundnessAlarm: E0901, what is read again is not equal.
        """
        written = json.dumps(
            {
                "program": serialise.to_json(self.program),
                "constants": [serialise.encoded(c) for c in self.constants],
                "backend": self.backend,
                "pair_bound": self.pair_bound,
            }
        )
        if read(written) != self:
            raise SoundnessAlarm("--workers", "what workers are told is not what was established", "report it")
        return written


def read(text: str) -> Job:
    """Read what `Job.text` wrote.

    Raises:
        BadProgram: E0020, it is no such text.
    """
    value = json.loads(text)
    constants = tuple(serialise.decoded(c, Constant) for c in value["constants"])
    return Job(serialise.from_json(value["program"]), constants, str(value["backend"]), bool(value["pair_bound"]))
