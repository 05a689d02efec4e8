"""Programs as versioned JSON and back, equal: every rational is a string `numerator/denominator`."""

from __future__ import annotations

import enum
import json
import re
import types
from dataclasses import fields, is_dataclass
from fractions import Fraction
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from robspec.ir import types as ir
from robspec.ir.errors import BadProgram
from robspec.ir.flat import Flat, flat, unflattened
from robspec.semantics.norm import Norm

T = TypeVar("T")
SCHEMA = "robspec-program"
MAX_DEPTH = 200
_RATIONAL = re.compile(r"-?[0-9]{1,4000}(/[1-9][0-9]{0,3999})?", re.ASCII)


def to_json(program: ir.Program) -> dict[str, Any]:
    """Turn a program into JSON values.

    Args:
        program: any program.

    Returns:
        An object with `schema`, `version` and `program`; each node names its `kind`.
    """
    return {"schema": SCHEMA, "version": ir.IR_VERSION, "program": _encode(program)}


def dumps(program: ir.Program) -> str:
    """A program as JSON text, indented, keys in a fixed order."""
    return json.dumps(to_json(program), indent=2, ensure_ascii=True) + "\n"


def _encode(value: Any) -> Any:
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, Norm):
        return value.name
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple):
        return [_encode(v) for v in value]
    if isinstance(value, ir.Metric):
        return {**_encode(flat(value)), "kind": "Metric"}
    if is_dataclass(value):
        encoded = {f.name: _encode(getattr(value, f.name)) for f in fields(value)}
        return {"kind": type(value).__name__, **encoded}
    return value


def encoded(value: Any) -> Any:
    """Turn a dataclass of the kinds that programs are made of into JSON values."""
    return _encode(value)


def decoded(value: Any, wanted: type[T]) -> T:
    """Turn what `encoded` gave back into an equal object.

    Raises:
        BadProgram: E0020, it is no such object.
    """
    found: T = _decode(value, wanted, wanted.__name__, 0)
    return found


def from_json(value: Any) -> ir.Program:
    """Turn JSON values back into the program they came from.

    Args:
        value: what `to_json` returned, or its like from elsewhere.

    Returns:
        A program equal to the one that was saved.

    Raises:
        BadProgram: E0020, anything else.
    """
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        _refuse("the JSON is no robspec program")
    if value.get("version") != ir.IR_VERSION:
        _refuse(f"the program is of version {value.get('version')!r}, this robspec reads {ir.IR_VERSION}")
    program: ir.Program = _decode(value.get("program"), ir.Program, "program", 0)
    return program


def loads(text: str) -> ir.Program:
    """Read the JSON text of a program.

    Raises:
        BadProgram: E0020, no JSON, or no program.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        _refuse("the text is no JSON")
    return from_json(value)


def _refuse(what: str) -> NoReturn:
    raise BadProgram("saved program", what, "compile the specification again")


def _decode(value: Any, wanted: Any, where: str, depth: int) -> Any:
    """Read a value of a wanted type, checking it on the way."""
    if depth > MAX_DEPTH:
        _refuse("the program is nested too deep")
    origin = get_origin(wanted)
    if origin in (Union, types.UnionType):
        return _decode_union(value, get_args(wanted), where, depth)
    if origin is tuple:
        return _decode_tuple(value, get_args(wanted), where, depth)
    if wanted is Fraction:
        if not isinstance(value, str) or not _RATIONAL.fullmatch(value):
            _refuse(f"{where} is no exact rational")
        return Fraction(value)
    if wanted is Norm:
        return _norm(value, where)
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        if value not in [member.value for member in wanted]:
            _refuse(f"{where} is not one of the known words")
        return wanted(value)
    if is_dataclass(wanted):
        return _decode_node(value, wanted, where, depth)
    if type(value) is not wanted:
        _refuse(f"{where} is not of type {wanted.__name__}")
    return value


def _decode_union(value: Any, options: tuple[Any, ...], where: str, depth: int) -> Any:
    if value is None and type(None) in options:
        return None
    rest = [o for o in options if o is not type(None)]
    if len(rest) == 1:
        return _decode(value, rest[0], where, depth)
    kind = value.get("kind") if isinstance(value, dict) else None
    chosen = next((o for o in rest if o.__name__ == kind), None)
    if chosen is None:
        _refuse(f"{where} is of no known kind")
    return _decode(value, chosen, where, depth)


def _decode_tuple(value: Any, parts: tuple[Any, ...], where: str, depth: int) -> tuple[Any, ...]:
    if not isinstance(value, list):
        _refuse(f"{where} is no list")
    if parts[-1] is Ellipsis:
        wanted = [parts[0]] * len(value)
    elif len(parts) == len(value):
        wanted = list(parts)
    else:
        _refuse(f"{where} has {len(value)} entries, not {len(parts)}")
    return tuple(
        _decode(v, w, f"{where}[{k}]", depth + 1) for k, (v, w) in enumerate(zip(value, wanted, strict=True))
    )


def _decode_node(value: Any, wanted: Any, where: str, depth: int) -> Any:
    if wanted is ir.Metric:
        return _decode_metric(value, where, depth)
    return _decode_fields(value, wanted, wanted.__name__, where, depth)


def _decode_fields(value: Any, wanted: Any, kind: str, where: str, depth: int) -> Any:
    hints = get_type_hints(wanted)
    names = [f.name for f in fields(wanted)]
    if not isinstance(value, dict) or set(value) != {"kind", *names} or value["kind"] != kind:
        _refuse(f"{where} is no {kind}")
    return wanted(**{n: _decode(value[n], hints[n], f"{where}.{n}", depth + 1) for n in names})


def _decode_metric(value: Any, where: str, depth: int) -> ir.Metric:
    found = unflattened(_decode_fields(value, Flat, "Metric", where, depth))
    if found is None:
        _refuse(f"{where} is no Metric: its fields do not go together")
    return found


def _norm(value: Any, where: str) -> Norm:
    if value == "linf":
        return Norm(None)
    match = re.fullmatch(
        r"l(?:([12])|\(([0-9]{1,4000})(?:\.([0-9]{1,4000}))?(?:/([1-9][0-9]{0,3999}))?\))", str(value)
    )
    if match is None:
        _refuse(f"{where} is no norm")
    if match[1]:
        return Norm(Fraction(match[1]))
    exponent = Fraction(f"{match[2]}.{match[3] or 0}") / int(match[4] or 1)
    if exponent < 1:
        _refuse(f"{where} is no norm")
    return Norm(exponent)
