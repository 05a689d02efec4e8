"""Free sides of the images, fixed before a program is loaded: a constant holds for images of one size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robspec.models import strict, symbols
from robspec.models.errors import ModelChoice

_LETTERS = "BCHW"
_NAMES = ("channels", "height", "width")


def fixed(module: dict[str, Any], ranges: Any, shape: tuple[int, int, int] | None, where: str) -> dict[str, int]:
    """Give every symbol in the sides of one image its number.

    Args:
        module: a serialised module of one image input.
        ranges: what the archive says of each symbol.
        shape: C, H, W to fix; None where nobody says.
        where: the record, for errors.

    Returns:
        Numbers by symbol; empty where no side but that of the batch is free.

    Raises:
        ModelChoice: E0225, a side is free and no size is given, or one that does not fit.
    """
    declared = _sides(module, where)
    if len(declared) != 4:
        return {}
    free = [i for i in (1, 2, 3) if "as_expr" in declared[i]]
    if not free:
        return {}
    limits = {symbol: strict.mapping(bounds, where) for symbol, bounds in strict.mapping(ranges, where).items()}
    texts = [str(strict.mapping(declared[i]["as_expr"], where).get("expr_str")) for i in range(4) if i in free]
    shown = [str(side.get("as_int", letter)) for side, letter in zip(declared, _LETTERS, strict=True)]
    if shape is None:
        size = ",".join(str(side.get("as_int", 3 if i == 0 else 256)) for i, side in enumerate(declared[1:]))
        raise ModelChoice(
            where,
            f"the model takes images of [{', '.join(shown)}], and a constant holds for one size only",
            f"give the size of the images with --input C,H,W, such as --input {size}",
        )
    known: dict[str, int] = {}
    for i, text in zip(free, texts, strict=True):
        _solve(text, shape[i - 1], _NAMES[i - 1], known, limits, where)
    return known


def _sides(module: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """The declared sides of the images; empty where the program is refused for another reason later."""
    graph = strict.mapping(module.get("graph"), where)
    signature = strict.mapping(module.get("signature"), where)
    for entry in strict.sequence(signature.get("input_specs"), where):
        tag, inner = strict.union(entry, where)
        if tag != "user_input":
            continue
        argument = strict.mapping(strict.mapping(inner, where).get("arg"), where).get("as_tensor")
        name = argument.get("name") if isinstance(argument, dict) else None
        values = strict.mapping(graph.get("tensor_values"), where)
        if isinstance(name, str) and isinstance(values.get(name), dict):
            found = strict.sequence(values[name].get("sizes"), where, 16)
            return [side for side in found if isinstance(side, dict)]
    return []


def _solve(
    text: str, wanted: int, called: str, known: dict[str, int], limits: dict[str, dict[str, Any]], where: str
) -> None:
    """Find the number of the one symbol in a side, which is a multiple of it and something."""
    symbol = next((word for word in limits if symbols.SYMBOL.fullmatch(word) and f"'{word}'" in text), None)
    if symbol is None:
        raise ModelChoice(
            where, f"the {called} is free in no way that can be fixed", "export it for images of one size"
        )

    def at(number: int) -> int:
        found = symbols.expression(text, where, {symbol: number})
        if not isinstance(found, int):
            raise ModelChoice(where, f"the {called} depends on another side", "export it for images of one size")
        return found

    number, step = known.get(symbol), at(3) - at(2)
    if number is None:
        number = (wanted - at(2)) // step + 2 if step > 0 else 2
    low, high = (limits[symbol].get(end) for end in ("min_val", "max_val"))
    outside = (isinstance(low, int) and number < low) or (isinstance(high, int) and number > high)
    if number < 1 or at(number) != wanted or outside:
        raise ModelChoice(
            where,
            f"the model takes images of {_fitting(called, at, step, low, high)}, not {wanted}",
            "correct the size: `input` of the specification, or --input C,H,W; resize the images, or export the "
            "model for this size",
        )
    known[symbol] = number


def _fitting(called: str, at: Callable[[int], int], step: int, low: Any, high: Any) -> str:
    """Say which numbers a side can have."""
    least = at(low) if isinstance(low, int) and 0 < low < 1 << 40 else at(1)
    text = (
        f"{called} {least} or more"
        if not isinstance(high, int) or high >= 1 << 40
        else f"{called} {least} to {at(high)}"
    )
    return f"{text}, in steps of {step}" if step != 1 else text
