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
    the strided convolutions of orthogonium are. torch's own remove_parametrizations is not used: it changes a
    class that the copy shares with the original.

    Args:
        network: in evaluation mode; not changed, except that power iterations in it may advance.

    Returns:
        The copy, and the names of the weights that were made explicit.
    """
    plain = copy.deepcopy(network).eval()
    names: list[str] = []
    with torch.no_grad():
        for name, module in list(plain.named_modules()):
            if "parametrizations" in name.split("."):
                continue
            layer, values = _computed(module)
            if values:
                names += [f"{name}.{tensor}".lstrip(".") for tensor in values]
                plain = _replaced(plain, name, _rebuilt(module, layer, values))
    return plain, sorted(names)


def _computed(module: nn.Module) -> tuple[type[nn.Module], dict[str, Tensor]]:
    """The class a layer would have with stored weights, and the values of those it computes."""
    layer = parametrize.type_before_parametrizations(module)
    plain = next((c for c in _PLAIN if issubclass(layer, c)), None)
    if plain is not None and isinstance(getattr(layer, "weight", None), property):
        weight: Any = module.weight
        return plain, {"weight": weight.detach().clone()}
    if not parametrize.is_parametrized(module):
        return layer, {}
    parametrizations: Any = module.parametrizations
    return layer, {tensor: getattr(module, tensor).detach().clone() for tensor in parametrizations}


def _rebuilt(module: nn.Module, layer: type[nn.Module], values: dict[str, Tensor]) -> nn.Module:
    """The same layer, of the given class, with the values stored and what computed them gone."""
    fresh: Any = layer.__new__(layer)
    fresh.__dict__ = dict(module.__dict__)
    fresh._modules = {k: m for k, m in module._modules.items() if k != "parametrizations"}
    fresh._buffers = dict(module._buffers)
    fresh._parameters = dict(module._parameters)
    for tensor, value in values.items():
        fresh._parameters[tensor] = nn.Parameter(value, requires_grad=False)
    if layer in _PLAIN:
        fresh._modules = {}
        fresh._parameters = {k: p for k, p in fresh._parameters.items() if k in ("weight", "bias")}
    plain: nn.Module = fresh
    return plain


def _replaced(network: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    if not name:
        return layer
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, layer)
    return network
