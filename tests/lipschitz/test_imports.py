"""The torch-free part of the prover stays torch-free: errors, derivations, claims and the command itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from robspec.errors import RobspecError
from robspec.function import errors as function_errors
from robspec.lipschitz import errors
from robspec.lipschitz.rounding import errors as rounding_errors
from robspec.privacy import errors as privacy_errors


@pytest.mark.parametrize(
    "module",
    [
        "robspec.lipschitz",
        "robspec.lipschitz.errors",
        "robspec.lipschitz.derivation",
        "robspec.lipschitz.pair",
        "robspec.lipschitz.figures",
        "robspec.cli.lipschitz",
    ],
)
def test_importing_does_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_error_has_its_own_code_and_explanation() -> None:
    found = [
        e
        for e in {**vars(errors), **vars(function_errors), **vars(rounding_errors), **vars(privacy_errors)}.values()
        if isinstance(e, type) and issubclass(e, RobspecError)
    ]
    classes = [e for e in found if e is not RobspecError]
    assert sorted(e.code for e in classes) == [
        "E0501",
        "E0502",
        "E0503",
        "E0504",
        "E0505",
        "E0506",
        "E0507",
        "E0508",
        "E0509",
        "E0510",
        "E0511",
        "E0512",
    ]
    for error in classes:
        assert error.title != RobspecError.title
        assert "Example:" in (error.__doc__ or "")
        assert "Mend:" in (error.__doc__ or "")


def test_every_rule_names_what_it_proves() -> None:
    from robspec import registry
    from robspec.lipschitz import rules

    for module in registry.modules(rules):
        assert module.OPERATIONS, module.__name__
        assert (module.bound.__doc__ or "").startswith(("Bound", "Answer", "Write", "Refuse", "Send")), (
            module.__name__
        )
