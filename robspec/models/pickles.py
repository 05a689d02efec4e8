"""What a pickle would do, read from its list of instructions without following any."""

from __future__ import annotations

import pickletools

_MOST = 64 << 20
_TENSOR_PARTS = frozenset(
    {
        "collections OrderedDict",
        "torch._utils _rebuild_tensor",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        "torch.serialization _get_layout",
        "torch Size",
        "torch device",
    }
)
_STORAGES = ("Byte", "Char", "Short", "Int", "Long", "Half", "Float", "Double", "Bool", "BFloat16", "Untyped")
_HARMLESS = _TENSOR_PARTS | {f"torch {kind}Storage" for kind in _STORAGES}


def holds_only_tensors(blob: bytes) -> bool:
    """Tell whether a pickle rebuilds tensors and plain containers alone.

    Args:
        blob: the pickle's bytes; nothing in it is run.

    Returns:
        False as soon as it names any other function or class, hides one, or is not a sound pickle.
    """
    if len(blob) > _MOST:
        return False
    try:
        for opcode, argument, at in pickletools.genops(blob):
            if opcode.name == "STOP" and at != len(blob) - 1:
                return False
            if opcode.name == "GLOBAL" and argument not in _HARMLESS:
                return False
            if opcode.name in ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"):
                return False
    except (ValueError, IndexError, EOFError, UnicodeDecodeError, OverflowError):
        return False
    return True
