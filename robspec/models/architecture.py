"""A network from the user's own code, and weights from a file that is never unpickled."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from torch import Tensor, nn

from robspec.models import checkpoint
from robspec.models.errors import ArchitectureError, BareWeights, DamagedModel, WhichWeights
from robspec.models.inspect import Kind, read_file, recognise
from robspec.models.names import fitting, listed
from robspec.models.pickles import UnsoundPickle
from robspec.models.safetensors import read_safetensors


def build(arch: str) -> nn.Module:
    """Import and call the function that builds a network; this runs your own code, and no other.

    Args:
        arch: `package.module:factory`, imported with the current folder on the path.

    Returns:
        What the factory returns.

    Raises:
        ArchitectureError: E0211.
    """
    module_name, colon, factory_name = arch.partition(":")
    if not colon or not module_name or not factory_name.isidentifier():
        raise ArchitectureError(arch, "it is not of the form package.module:factory", "name both parts")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        factory = getattr(importlib.import_module(module_name), factory_name)
        network = factory()
    except Exception as error:
        raise ArchitectureError(
            arch,
            f"it cannot be imported and called: {type(error).__name__}: {error}",
            "see `robspec explain E0211`",
        ) from error
    finally:
        sys.path.remove(here)
    if not isinstance(network, nn.Module):
        raise ArchitectureError(arch, f"it returns {type(network).__name__}", "return a torch.nn.Module")
    return network


def load_weights(path: Path, *, key: str | None = None, prefix: str = "") -> tuple[dict[str, Tensor], list[str]]:
    """Read a file of weights.

    Args:
        path: written by `torch.save(model.state_dict(), path)` in either of its formats, or in safetensors; or a
            checkpoint that holds such a table.
        key: which table of a checkpoint, keys inside one another joined by dots.
        prefix: what the wanted names begin with; it is taken off, and weights without it are left out.

    Returns:
        Tensors by name, on the CPU, and the names that were left out.

    Raises:
        RobspecError: E0201 to E0205, E0206 when it is an archive with its own network, E0217.
    """
    blob = read_file(path)
    return without(prefix, read_weights(blob, recognise(blob, str(path)), str(path), key=key), str(path))


def without(prefix: str, weights: dict[str, Tensor], where: str) -> tuple[dict[str, Tensor], list[str]]:
    """Take a prefix off the names of weights.

    Args:
        prefix: what the wanted names begin with; empty for all names as they are.
        weights: tensors by name.
        where: the file, for the error.

    Returns:
        Tensors by the rest of their names, and the names that do not begin so, which are left out.

    Raises:
        WhichWeights: E0217, no name begins so.
    """
    kept = {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
    if not kept and prefix:
        raise WhichWeights(
            where,
            f"none of its {len(weights)} names begins with {prefix!r}; they are {listed(weights)}",
            "give --strip-prefix the beginning of the names that you want",
        )
    return kept, sorted(name for name in weights if not name.startswith(prefix))


def read_weights(blob: bytes, kind: Kind, where: str, *, key: str | None = None) -> dict[str, Tensor]:
    """Read weights from a recognised file's bytes; no part of it is unpickled.

    Args:
        blob: the file's bytes.
        kind: what `recognise` said of them.
        where: the file, for the error.
        key: which table of a checkpoint; None for the whole content.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        BareWeights: E0206, not a file of weights.
        WhichWeights: E0217, not a table of weights, or no table of this name.
        DamagedModel: E0203.
        InconsistentArchive: E0212.
    """
    if kind is Kind.SAFETENSORS:
        found = read_safetensors(blob, where)
        if key is not None:
            what = f"a safetensors file is one table; its {len(found)} names are {listed(found)}"
            raise WhichWeights(where, what, "leave out --key")
        return found
    if kind is Kind.EXPORTED:
        raise BareWeights(where, f"it is a {kind.value}, not weights", "use it directly, without --arch")
    read = checkpoint.from_zip if kind is Kind.STATE_DICT else checkpoint.from_old
    try:
        content = read(blob, where)
    except UnsoundPickle as error:
        raise DamagedModel(where, f"its tensors cannot be read: {error}", "save the weights again") from error
    return checkpoint.tensors(checkpoint.choose(content, where, key), content.storages, where)


def put_weights(network: nn.Module, weights: dict[str, Tensor], arch: str) -> None:
    """Load weights into a network, all of them and no other.

    Raises:
        ArchitectureError: E0211, names or shapes differ.
    """
    try:
        network.load_state_dict(weights, strict=True)
    except (RuntimeError, KeyError, TypeError) as error:
        shapes = ({n: tuple(t.shape) for n, t in part.items()} for part in (_tensors_of(network), weights))
        mend = fitting(*shapes) or "use the weights of this very architecture"
        raise ArchitectureError(arch, f"the weights do not fit: {str(error)[:800]}", mend) from error


def _tensors_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
