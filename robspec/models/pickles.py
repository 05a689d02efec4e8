"""What a pickle says, read from its list of instructions: nothing that it names is imported, called or built."""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass

_MOST = 64 << 20
_MOST_STEPS = 4_000_000
_ORDERED = "collections OrderedDict"
_REBUILDS = ("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2")
_PARAMETER = "torch._utils _rebuild_parameter"
_SIZE = "torch Size"
_TENSOR_PARTS = frozenset(
    {_ORDERED, *_REBUILDS, _PARAMETER, _SIZE, "torch.serialization _get_layout", "torch device"}
)
STORAGES = {
    "Byte": "uint8",
    "Char": "int8",
    "Short": "int16",
    "Int": "int32",
    "Long": "int64",
    "Half": "float16",
    "Float": "float32",
    "Double": "float64",
    "Bool": "bool",
    "BFloat16": "bfloat16",
    "Untyped": "uint8",
}
_HARMLESS = _TENSOR_PARTS | {f"torch {kind}Storage" for kind in STORAGES}
_SETTINGS = frozenset(
    {
        "_codecs encode",
        "argparse Namespace",
        "collections Counter",
        "collections defaultdict",
        "datetime date",
        "datetime datetime",
        "datetime timedelta",
        "numpy dtype",
        "numpy.core.multiarray scalar",
        "numpy._core.multiarray scalar",
        "pathlib Path",
        "pathlib PosixPath",
        "pathlib PurePosixPath",
        "pathlib WindowsPath",
        "lightning.fabric.utilities.data AttributeDict",
        "lightning_fabric.utilities.data AttributeDict",
        "lightning.pytorch.utilities.parsing AttributeDict",
        "pytorch_lightning.utilities.parsing AttributeDict",
        *(f"torch {name}" for name in set(STORAGES.values())),
    }
)
"""Settings that training code keeps beside its weights; they are read over, as everything else by name is."""


class UnsoundPickle(ValueError):
    """Not a pickle, or one that no writer makes."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Where a tensor's numbers lie.

    Args:
        key: names the storage within its file.
        dtype: torch's name of the element type.
        count: how many elements it has.
        start: the first of them that is this storage's own; not 0 for a view of very old files.
    """

    key: str
    dtype: str
    count: int
    start: int = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor, by reference to its storage.

    Args:
        storage: where its numbers lie.
        offset: of its first element.
        shape: one side per dimension.
        strides: elements from one entry to the next, per dimension.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A class or function, or what it would have made; neither is looked up.

    Args:
        name: module and name, with a space between them.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Said:
    """One pickle, read.

    Args:
        value: None, numbers, text, bytes, lists, tuples, dicts, `Stored` and `Named`.
        names: the classes and functions it names.
        storages: those of its tensors.
        end: the position after it.
    """

    value: object
    names: frozenset[str]
    storages: frozenset[Storage]
    end: int

    def foreign(self, *, settings: bool) -> tuple[str, ...]:
        """List the names that stand neither for tensors and containers nor, where allowed, for settings."""
        return tuple(sorted(self.names - _HARMLESS - (_SETTINGS if settings else frozenset())))


def holds_only_tensors(blob: bytes) -> bool:
    """Tell whether a pickle rebuilds tensors and plain containers alone.

    Args:
        blob: the pickle's bytes; nothing in it is run.

    Returns:
        False as soon as it names any other function or class, hides one, or is not a sound pickle.
    """
    try:
        said = read_pickle(blob)
    except UnsoundPickle:
        return False
    return said.end == len(blob) and not said.foreign(settings=False)


def read_pickle(blob: bytes, start: int = 0) -> Said:
    """Read one pickle of a file.

    Args:
        blob: the file's bytes.
        start: where the pickle begins.

    Returns:
        What it says; work and memory are bounded by its length.

    Raises:
        UnsoundPickle: it is none, is longer than 64 MiB or 4,000,000 instructions, or uses instructions that no
            writer of weights does.
    """
    stream = io.BytesIO(blob)
    stream.seek(start)
    machine = _Machine()
    try:
        for count, (opcode, argument, at) in enumerate(pickletools.genops(stream)):
            if count > _MOST_STEPS or (at is not None and at - start > _MOST):
                raise UnsoundPickle("it is too long")
            if opcode.name == "STOP":
                break
            machine.follow(opcode.name, argument)
        value = machine.pop()
    except UnsoundPickle:
        raise
    except (ValueError, IndexError, KeyError, TypeError, EOFError, OverflowError, AttributeError) as error:
        raise UnsoundPickle(str(error)) from error
    return Said(value, frozenset(machine.names), frozenset(machine.storages), stream.tell())


_MARK = object()
_LITERALS: dict[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK}
_EMPTY: dict[str, Callable[[], object]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": list}
_SKIPPED = frozenset({"PROTO", "FRAME"})


class _Machine:
    """A pickle machine whose every class and function is a name."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.storages: set[Storage] = set()
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}

    def pop(self) -> object:
        return self._stack.pop()

    def follow(self, name: str, argument: object) -> None:
        """Follow one instruction."""
        if name in _SKIPPED:
            return
        if name in _LITERALS:
            self._stack.append(_LITERALS[name])
        elif name in _EMPTY:
            self._stack.append(_EMPTY[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            place = len(self._memo) if name == "MEMOIZE" else int(str(argument))
            self._memo[place] = self._stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self._stack.append(self._memo[int(str(argument))])
        elif name in _STEPS:
            _STEPS[name](self)
        elif name == "GLOBAL":
            self._name(str(argument))
        elif argument is not None and name.startswith(_VALUES):
            self._stack.append(argument)
        else:
            raise UnsoundPickle(f"it uses the instruction {name}")

    def _name(self, name: str) -> None:
        self.names.add(name)
        self._stack.append(Named(name))

    def _marked(self) -> list[object]:
        items: list[object] = []
        while (item := self._stack.pop()) is not _MARK:
            items.append(item)
        items.reverse()
        return items

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise UnsoundPickle("it computes a name")
        self._name(f"{module} {name}")

    def _tuple(self, count: int | None) -> None:
        items = self._marked() if count is None else [self._stack.pop() for _ in range(count)][::-1]
        self._stack.append(tuple(items))

    def _append(self, *, many: bool) -> None:
        items = self._marked() if many else [self._stack.pop()]
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Named):
            raise UnsoundPickle("it appends to what is no list")

    def _items(self, *, many: bool) -> None:
        items = self._marked() if many else [self._stack.pop() for _ in range(2)][::-1]
        self._fill(self._stack[-1], items)

    def _fill(self, target: object, items: list[object]) -> None:
        if isinstance(target, Named):
            return
        if not isinstance(target, dict) or len(items) % 2:
            raise UnsoundPickle("it sets items of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing what is nested deeply enough would exhaust the interpreter's stack.
            plain = isinstance(key, str | int | float | bool | None)
            target[key if plain else Named(f"key {len(target)}")] = value

    def _whole(self, kind: str) -> None:
        items = self._marked()
        if kind == "DICT":
            made: dict[object, object] = {}
            self._fill(made, items)
            self._stack.append(made)
        else:
            self._stack.append(items)

    def _reduce(self) -> None:
        given, function = self._stack.pop(), self._stack.pop()
        if not isinstance(given, tuple):
            raise UnsoundPickle("it calls with what is no tuple")
        self._stack.append(_made(function, given))

    def _new(self, *, keywords: bool) -> None:
        if keywords:
            self._stack.pop()
        self._stack.pop()
        made = self._stack.pop()
        self._stack.append(made if isinstance(made, Named) else Named("an object"))

    def _build(self) -> None:
        self._stack.pop()  # attributes, such as the versions that torch keeps beside a state_dict

    def _persistent(self) -> None:
        found = self._stack.pop()
        if isinstance(found, tuple) and len(found) in (5, 6) and found[0] == "storage":
            storage = _storage(found)
            self.storages.add(storage)
            self._stack.append(storage)
        else:
            self.names.add("a stored source file")
            self._stack.append(Named("a stored source file"))


_STEPS: dict[str, Callable[[_Machine], None]] = {
    "STACK_GLOBAL": _Machine._stack_global,
    "TUPLE": lambda m: m._tuple(None),
    "EMPTY_TUPLE": lambda m: m._tuple(0),
    "TUPLE1": lambda m: m._tuple(1),
    "TUPLE2": lambda m: m._tuple(2),
    "TUPLE3": lambda m: m._tuple(3),
    "APPEND": lambda m: m._append(many=False),
    "APPENDS": lambda m: m._append(many=True),
    "ADDITEMS": lambda m: m._append(many=True),
    "SETITEM": lambda m: m._items(many=False),
    "SETITEMS": lambda m: m._items(many=True),
    "DICT": lambda m: m._whole("DICT"),
    "LIST": lambda m: m._whole("LIST"),
    "FROZENSET": lambda m: m._whole("LIST"),
    "REDUCE": _Machine._reduce,
    "NEWOBJ": lambda m: m._new(keywords=False),
    "NEWOBJ_EX": lambda m: m._new(keywords=True),
    "BUILD": _Machine._build,
    "BINPERSID": _Machine._persistent,
}
_VALUES = ("BININT", "INT", "LONG", "FLOAT", "BINFLOAT", "BINUNICODE", "UNICODE", "SHORT_BIN", "STRING", "BIN")


def _made(function: object, given: tuple[object, ...]) -> object:
    """What a call stands for, for the few that make tensors and containers; a name for every other."""
    name = function.name if isinstance(function, Named) else "an object"
    if name == _ORDERED:
        return {}
    if name == _PARAMETER and given:
        return given[0]
    if name == _SIZE and given:
        return given[0]
    if name in _REBUILDS and len(given) >= 4:
        storage, offset, shape, strides = given[:4]
        if not isinstance(storage, Storage):
            raise UnsoundPickle("a tensor has no storage")
        return Stored(storage, _number(offset), _numbers(shape), _numbers(strides))
    return Named(name)


def _storage(found: tuple[object, ...]) -> Storage:
    kind, key, count = found[1], found[2], found[4]
    name = kind.name.rpartition(" ")[2].removesuffix("Storage") if isinstance(kind, Named) else ""
    if name not in STORAGES:
        raise UnsoundPickle("a storage has no known element type")
    start = 0
    view = found[5] if len(found) == 6 else None
    if isinstance(view, tuple) and len(view) == 3:
        start, count = view[1], view[2]
    return Storage(str(key)[:200], STORAGES[name], _number(count), _number(start))


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 48:
        raise UnsoundPickle("a tensor's place is not a plain number")
    return value


def _numbers(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or len(value) > 64:
        raise UnsoundPickle("a tensor's sides are not plain numbers")
    return tuple(_number(v) for v in value)
