"""What options cover: each refuses what it does not know how to answer, and so does a statement about rounding."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from robspec.ir.plans import Components, PooledComponents, Ranked
from robspec.ir.types import Program
from robspec.recheck.rounded import uncertified
from robspec.verify.errors import OptionValueError, UnsupportedMetricError
from robspec.verify.evaluate import metrics_of, refuse_steep

if TYPE_CHECKING:
    from robspec.session.check import Options


def refuse_uncovered(program: Program, options: Options) -> None:
    """Stop where an option does not know how a metric of the program is bounded.

    Raises:
        OptionValueError: E0601, naming the option.
    """
    if options.arithmetic not in (None, "exact"):
        refuse_rounding(program, options)
    plans = [metric.plan for prop in program.properties for metric in metrics_of(prop.query)]
    if any(isinstance(plan, PooledComponents) for plan in plans):
        refuse(options, "it does not cover pooled object_recall yet", "leave it out")
    if any(isinstance(plan, Components) for plan in plans):
        refuse(replace(options, attack=None), "it does not cover object_recall yet", "leave it out")
    if any(isinstance(plan, Ranked) for plan in plans):
        only = replace(options, attack=None, certificate=False)
        refuse(only, "it does not cover ranked scores yet", "leave it out")


def unreal(program: Program, options: Options) -> str:
    """Say why of a check nothing about the function over the reals can be had; empty where its options allow it."""
    try:
        refuse_rounding(program, options)
    except (OptionValueError, UnsupportedMetricError) as refusal:
        return refusal.what if refusal.where == "--arithmetic" else f"{refusal.what} ({refusal.where})"
    return ""


def refuse_rounding(program: Program, options: Options) -> None:
    """Stop where something that is asked for does not allow for rounding.

    Raises:
        OptionValueError: E0601, naming the option.
        UnsupportedMetricError: E0406, naming the property.
    """
    mend = "leave it out, or say --arithmetic exact"
    unasked = uncertified(program)
    if unasked:
        refuse(replace(options, attack=None), unasked, mend)
    if any(prop.smoothing is not None for prop in program.properties):
        raise OptionValueError(
            "--arithmetic",
            "votes under noise are votes of the network as it runs, with noise that is rounded when it is added",
            "leave it out, or write the other properties into a specification of their own",
        )
    for prop in program.properties:
        refuse_steep(prop)
    if options.coarse and options.arithmetic == "deployed":
        what = (
            "what float32 rounds after the up-sampling moves full-size logits by themselves, which cells do not cover"
        )
        raise OptionValueError("--coarse", what, "leave it out, or say --arithmetic real")


def refuse_far(options: Options) -> None:
    """Stop where something that is asked for rests on how the CPU computes.

    Raises:
        OptionValueError: E0601, naming the option.
    """
    asked = (
        (
            "--arithmetic",
            options.arithmetic not in (None, "exact"),
            "nothing is proved of how kernels on a GPU round",
        ),
        (
            "--certificate",
            options.certificate,
            "`robspec recheck` runs the network on the CPU, whose logits are not those of a GPU",
        ),
        (
            "--coarse",
            options.coarse,
            "what cells allow for was looked at on the CPU, where pixels are made of logits",
        ),
        (
            "--ray",
            options.ray is not None and ":" in options.device,
            f"Ray says which GPU an actor has, and --device {options.device} names one",
        ),
    )
    for name, given, why in asked:
        if given:
            raise OptionValueError(name, why, f"say --device {'cuda' if name == '--ray' else 'cpu'}, or leave it out")


def refuse(options: Options, why: str, mend: str) -> None:
    """Stop where an option that was given has no meaning.

    Raises:
        OptionValueError: E0601, naming the option.
    """
    asked = {
        "--attack": options.attack is not None,
        "--cross-check": options.cross_check is not None,
        "--certificate": options.certificate,
    }
    for name, given in asked.items():
        if given:
            raise OptionValueError(name, why, mend)
