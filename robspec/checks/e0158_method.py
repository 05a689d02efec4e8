"""Method or setting of it that does not exist, is missing or out of range.

A property is answered `by lipschitz`, which need not be said, or `by smoothing` with
the settings sigma (above 0, in units of the input), samples (1 to 10000) and alpha
(above 0, below 1: the probability that anything claimed of the data set is wrong). It
may name tau, the frequency that is tested (from 0.5, below 1), and selection, the
number of samples by which a pixel's class is chosen first (10 where nothing is said).

Example::

    by smoothing { sigma 0.25 samples 100 }

Mend::

    by smoothing { sigma 0.25 samples 100 alpha 0.001 }
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from robspec.checks._report import error, shown
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, did_you_mean
from robspec.syntax import ast, write

_METHODS = ("lipschitz", "smoothing")
_USUAL = {"sigma": "0.25", "samples": "100", "alpha": "0.001"}
_SETTINGS = (*_USUAL, "tau", "selection")
_MOST = 10_000
_LEAST_ALPHA = Fraction(1, 10**30)


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at every `by`."""
    for block in spec.properties:
        by = spec.statement(block, ast.By)
        if by is None:
            continue
        if by.method.id not in _METHODS:
            mend = did_you_mean(by.method.id, _METHODS, "the methods are lipschitz and smoothing")
            yield error(__name__, by.method.span, f"there is no method `{by.method.id}`", mend)
        elif by.method.id == "lipschitz":
            if by.settings:
                yield error(__name__, by.span, "`lipschitz` has no settings", "write `by lipschitz`")
        else:
            yield from _smoothing(spec, by)


def _smoothing(spec: Spec, by: ast.By) -> Iterator[Diagnostic]:
    given = {s.name.id for s in by.settings}
    missing = [name for name in _USUAL if name not in given]
    if missing:
        have = [f"{s.name.id} {write.expression(s.value)}" for s in by.settings]
        have += [f"{name} {_USUAL[name]}" for name in missing]
        message = f"`smoothing` has no {' and no '.join(missing)}"
        yield error(__name__, by.span, message, f"write `by smoothing {{ {' '.join(have)} }}`")
    for setting in by.settings:
        if setting.name.id not in _SETTINGS:
            mend = did_you_mean(setting.name.id, _SETTINGS, f"the settings are {', '.join(_SETTINGS)}")
            message = f"`smoothing` has no setting `{setting.name.id}`"
            yield error(__name__, setting.name.span, message, mend)
            continue
        value = spec.value(setting.value)
        problem = None if value is None else _problem(setting.name.id, value)
        if value is not None and problem is not None:
            yield error(__name__, setting.value.span, f"{shown(value)} is not {problem[0]}", problem[1])


def _problem(name: str, value: Fraction) -> tuple[str, str] | None:
    if name == "sigma":
        fits = Fraction(1, 10**12) <= value <= 10**12
        return None if fits else ("a standard deviation", "write a number above 0, such as 0.25")
    if name in ("samples", "selection"):
        fits = value.denominator == 1 and 1 <= value <= _MOST
        return None if fits else ("a number of samples", f"write an integer from 1 to {_MOST}")
    if name == "alpha":
        fits = _LEAST_ALPHA <= value < 1
        return None if fits else ("a probability of error", "write a number above 0 and below 1, such as 0.001")
    fits = Fraction(1, 2) <= value < 1
    return None if fits else ("a frequency that keeps a class ahead", "write a number from 0.5 and below 1")
