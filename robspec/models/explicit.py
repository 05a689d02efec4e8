"""Parametrised weights made explicit: a plain network that computes the same."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_PLAIN: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def explicit(network: nn.Module) -> tuple[nn.Module, list[str]]:
    """Copy a network with every parametrised or computed weight stored as the number it is.

    Handles torch.nn.utils.parametrize, and layers whose `weight` is computed by a property of their class, as
    the strided convolutions of orthogonium are.

    Args:
        network: in evaluation mode; not changed, except that power iterations in it may advance.

    Returns:
        The copy, and the names of the weights that were made explicit.
    """
    with torch.no_grad():
        plain = copy.deepcopy(network).eval()
        computed = _computed_weights(plain)
        names = [f"{name}.weight".lstrip(".") for name in computed]
        for name, weight in computed.items():
            plain = _replaced(plain, name, _plain_layer(plain.get_submodule(name), weight))
        for name, module in list(plain.named_modules()):
            if parametrize.is_parametrized(module) and "parametrizations" not in name.split("."):
                names += _strip(module, name)
    return plain, sorted(names)


def _computed_weights(network: nn.Module) -> dict[str, Tensor]:
    found = {}
    for name, module in network.named_modules():
        layer = next((c for c in _PLAIN if isinstance(module, c)), None)
        if layer is None or parametrize.is_parametrized(module, "weight"):
            continue
        if isinstance(getattr(type(module), "weight", None), property):
            weight: Any = module.weight
            found[name] = weight.detach().clone()
    return found


def _plain_layer(module: nn.Module, weight: Tensor) -> nn.Module:
    """A layer of the plain class with the same geometry, bias and forward, and its weight stored."""
    layer = next(c for c in _PLAIN if isinstance(module, c))
    fresh: Any = layer.__new__(layer)
    fresh.__dict__ = dict(module.__dict__)
    bias: Any = module.bias
    fresh._modules = {}
    fresh._buffers = {}
    fresh._parameters = {"weight": nn.Parameter(weight, requires_grad=False)}
    fresh.register_parameter("bias", None if bias is None else nn.Parameter(bias.detach().clone(), False))
    plain: nn.Module = fresh
    return plain


def _replaced(network: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    if not name:
        return layer
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, layer)
    return network


def _strip(module: nn.Module, name: str) -> list[str]:
    parametrizations: Any = module.parametrizations
    tensors = list(parametrizations)
    for tensor in tensors:
        parametrize.remove_parametrizations(module, tensor, leave_parametrized=True)
    return [f"{name}.{t}".lstrip(".") for t in tensors]
