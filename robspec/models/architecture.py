"""A network from the user's own code, and weights from a file that is never unpickled."""

from __future__ import annotations

import importlib
import io
import sys
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from robspec.models.errors import ArchitectureError, BareWeights, DamagedModel
from robspec.models.inspect import Kind, read_file, recognise
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


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of weights.

    Args:
        path: written by `torch.save(model.state_dict(), path)` or in safetensors.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        RobspecError: E0201 to E0205, and E0206 when it is an archive with its own network.
    """
    blob = read_file(path)
    return read_weights(blob, recognise(blob, str(path)), str(path))


def read_weights(blob: bytes, kind: Kind, where: str) -> dict[str, Tensor]:
    """Read weights from a recognised file's bytes.

    Args:
        blob: the file's bytes.
        kind: what `recognise` said of them.
        where: the file, for the error.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        BareWeights: E0206, not a file of weights.
        DamagedModel: E0203.
        InconsistentArchive: E0212.
    """
    if kind is Kind.SAFETENSORS:
        return read_safetensors(blob, where)
    if kind is not Kind.STATE_DICT:
        raise BareWeights(where, f"it is a {kind.value}, not weights", "use it directly, without --arch")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
    except Exception as error:
        raise DamagedModel(where, f"its tensors cannot be read: {error}", "save the weights again") from error
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise BareWeights(
            where,
            "it is a checkpoint with more than weights in it",
            'save the weights alone: torch.save(checkpoint["model"], "weights.pt")',
        )
    return {str(k): v for k, v in found.items()}


def put_weights(network: nn.Module, weights: dict[str, Tensor], arch: str) -> None:
    """Load weights into a network, all of them and no other.

    Raises:
        ArchitectureError: E0211, names or shapes differ.
    """
    try:
        network.load_state_dict(weights, strict=True)
    except (RuntimeError, KeyError, TypeError) as error:
        raise ArchitectureError(
            arch, f"the weights do not fit: {str(error)[:800]}", "use the weights of this very architecture"
        ) from error
