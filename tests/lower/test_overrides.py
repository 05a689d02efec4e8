"""`--set name=value`: what is read, to the last allowed digit, and what each refusal says."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from robspec.diagnostics import Source, SpecError
from robspec.lower import compile_file, compile_source, compile_text, parse_overrides
from robspec.lower.errors import BadOverride
from robspec.syntax.parse import MAX_DIGITS, MAX_EXPONENT

F = Fraction


def refused(item: str) -> BadOverride:
    with pytest.raises(BadOverride) as caught:
        parse_overrides([item])
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.2", F(1, 5)),
        ("-0.5", F(-1, 2)),
        ("8/255", F(8, 255)),
        ("8 / 255", F(8, 255)),
        ("1E2", F(100)),
        ("1e-2/4E0", F(1, 400)),
        (f"1e{MAX_EXPONENT}", F(10) ** MAX_EXPONENT),
        (f"1e-{MAX_EXPONENT}", F(10) ** -MAX_EXPONENT),
        ("1" * MAX_DIGITS, F("1" * MAX_DIGITS)),
    ],
)
def test_values_are_exact_up_to_the_limits(text: str, value: Fraction) -> None:
    assert parse_overrides([f" eps = {text} "]) == {"eps": value}


@pytest.mark.parametrize("item", ["eps", "=1", " =1"])
def test_an_override_without_name_or_value(item: str) -> None:
    error = refused(item)
    assert error.where == f"--set {item}"
    assert (error.what, error.mend) == ("an override reads name=value", "write it like `--set eps=0.2`")


@pytest.mark.parametrize("value", ["", "nan", "inf", "0x1", "1_0", "1=2", "1/2/3", "1" * (MAX_DIGITS + 1)])
def test_a_value_that_is_no_decimal(value: str) -> None:
    error = refused(f"eps={value}")
    assert error.where == f"--set eps={value}"[: len("--set ") + MAX_DIGITS]
    assert error.what == "the value is not a finite decimal"
    assert error.mend == "write a decimal such as 0.2, or 8/255"


@pytest.mark.parametrize("value", [f"1e{MAX_EXPONENT + 1}", f"1E-{MAX_EXPONENT + 1}", f"1/1E{MAX_EXPONENT + 1}"])
def test_a_value_beyond_all_use(value: str) -> None:
    error = refused(f"eps={value}")
    assert error.where == f"--set eps={value}"
    assert (error.what, error.mend) == (f"the value is beyond 1e{MAX_EXPONENT}", "write a number of usual size")


def test_a_division_by_zero() -> None:
    error = refused("eps=1/0.0")
    assert error.where == "--set eps=1/0.0"
    assert (error.what, error.mend) == ("the value divides by zero", "write a decimal such as 0.2, or 8/255")


def test_a_file_is_compiled_with_its_overrides(runway: str, tmp_path: Path) -> None:
    path = tmp_path / "runway.rspec"
    path.write_text(runway)
    assert dict(compile_file(path, {"eps": F(3)}).params)["eps"] == 3
    assert dict(compile_file(path).params)["eps"] == F(1, 10)


@pytest.mark.parametrize(
    ("name", "mend"), [("zebra", "declare it: `param zebra = ...`"), ("8x", "use a declared name")]
)
def test_an_override_of_nothing_like_a_declared_name(runway: str, name: str, mend: str) -> None:
    with pytest.raises(BadOverride) as caught:
        compile_text(runway, overrides={name: F(1)})
    assert caught.value.where == f"--set {name}=..."
    assert caught.value.mend == mend


SWEPT = """language 1
param eps = 0.1
param floor = 0.75

model {
  input image [3, 8, 8] in [0, 1]
  output logits [2, 8, 8]
  classes a, b
}
data d {
  images "i/*"
  masks "m/*"
}
property p {
  metric pixel_accuracy
  norm l2
  budget eps
  require mean(worst_case) >= floor
}
"""


def diagnosed(text: str, **overrides: Fraction) -> SpecError:
    source = Source(text, "spec.rspec")
    program, diagnostics = compile_source(source, overrides)
    assert program is None
    return SpecError(diagnostics, source)


def test_a_value_that_makes_something_wrong_is_pointed_at() -> None:
    said = diagnosed(SWEPT, eps=F(-1, 10), floor=F(1, 2))
    assert said.where == "--set eps=-0.1"
    assert str(said) == (
        "error[E0107]: the budget -0.1 is negative\n"
        "  --> --set eps=-0.1\n"
        "  ::: spec.rspec:17:10\n"
        "   |\n"
        "17 |   budget eps\n"
        "   |          ^^^\n"
        "  mend: a budget is zero or more\n\n"
        "1 error; `robspec explain E0107` says more"
    )
    # Also where the statement names another parameter, which is computed from it.
    said = diagnosed(
        SWEPT.replace("budget eps", "budget half")
        .replace("floor = 0.75", "half = eps / 2")
        .replace(">= floor", ">= 0.7"),
        eps=F(-2),
    )
    assert said.where == "--set eps=-2"


def test_what_is_wrong_without_it_is_pointed_at_where_it_is_written() -> None:
    said = diagnosed(SWEPT.replace("budget eps", "budget -0.5"), eps=F(1, 5))
    assert said.where == "spec.rspec:17:10"
    assert "--set" not in str(said)
