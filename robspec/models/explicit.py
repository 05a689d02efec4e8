"""Parametrised weights made explicit: a plain network that computes the same."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

_PLAIN: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@dataclass
class _Computed:
    """The weights that a layer computes, and what goes with that.

    Args:
        layer: the class it would have with stored weights.
        values: the weights, by name.
        parts: names of the parameters and buffers they are computed from.
        hooks: keys of the hooks that compute them before each pass.
    """

    layer: type[nn.Module]
    values: dict[str, Tensor] = field(default_factory=dict)
    parts: set[str] = field(default_factory=set)
    hooks: list[int] = field(default_factory=list)


def explicit(network: nn.Module) -> tuple[nn.Module, list[str]]:
    """Copy a network with every parametrised or computed weight stored as the number it is.

    Handles torch.nn.utils.parametrize, the older weight_norm, spectral_norm and prune of torch.nn.utils, which
    compute a weight before each pass, and layers whose `weight` is computed by a property of their class, as the
    strided convolutions of orthogonium are. A layer is changed where it stands, so that every name it has, in lists
    and under several parents, means the changed one. torch's own remove_parametrizations is not used: it changes a
    class that the copy shares with the original.

    Args:
        network: in evaluation mode; not changed, except that power iterations in it may advance.

    Returns:
        The copy, and the names of the weights that were made explicit, each under every name of its layer.
    """
    plain = copy.deepcopy(network, dict(_without_history(network))).eval()
    listed: dict[nn.Module, list[str]] = {}
    for name, module in plain.named_modules(remove_duplicate=False):
        if "parametrizations" not in name.split("."):
            listed.setdefault(module, []).append(name)
    names: list[str] = []
    with torch.no_grad():
        for module, aliases in listed.items():
            found = _computed(module)
            if found.values:
                names += [f"{alias}.{tensor}".lstrip(".") for alias in aliases for tensor in found.values]
                _store(module, found)
    return plain, sorted(names)


def _without_history(network: nn.Module) -> Iterator[tuple[int, Tensor]]:
    """Copies of the tensors that a layer keeps as plain attributes and that know how they were computed: such have
    no deep copy.
    """
    for module in network.modules():
        for value in module.__dict__.values():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                yield id(value), value.detach().clone()


def _computed(module: nn.Module) -> _Computed:
    """Read the weights that a layer computes."""
    layer = parametrize.type_before_parametrizations(module)
    plain = next((c for c in _PLAIN if issubclass(layer, c)), None)
    if plain is not None and isinstance(getattr(layer, "weight", None), property):
        weight: Any = module.weight
        return _Computed(plain, {"weight": weight.detach().clone()})
    found = _Computed(layer)
    if parametrize.is_parametrized(module):
        parametrizations: Any = module.parametrizations
        found.values = {tensor: getattr(module, tensor).detach().clone() for tensor in parametrizations}
    for key, hook in module._forward_pre_hooks.items():
        read = _hooked(module, hook)
        if read is not None:
            name, value, parts = read
            found.values[name] = value.detach().clone()
            found.parts |= {f"{name}_{part}" for part in parts}
            found.hooks.append(key)
    return found


def _hooked(module: nn.Module, hook: Any) -> tuple[str, Tensor, tuple[str, ...]] | None:
    """The weight that a hook of torch.nn.utils computes, and what it keeps beside it."""
    if isinstance(hook, WeightNorm):
        return hook.name, hook.compute_weight(module), ("g", "v")
    if isinstance(hook, SpectralNorm):
        return hook.name, hook.compute_weight(module, do_power_iteration=False), ("orig", "u", "v")
    if isinstance(hook, prune.BasePruningMethod):
        weight: Tensor = hook.apply_mask(module)  # type: ignore[no-untyped-call]
        return hook._tensor_name, weight, ("orig", "mask")
    return None


def _store(module: nn.Module, found: _Computed) -> None:
    """Give a layer its plain class and its weights as they are; what computed them goes."""
    changed: Any = module
    for key in found.hooks:
        del changed._forward_pre_hooks[key]
    for hooks in (changed._state_dict_hooks, changed._load_state_dict_pre_hooks):
        for key in [k for k, h in hooks.items() if isinstance(getattr(h, "fn", None), SpectralNorm)]:
            del hooks[key]
    changed.__class__ = found.layer
    changed._modules = {k: m for k, m in module._modules.items() if k != "parametrizations"}
    changed._parameters = {k: p for k, p in module._parameters.items() if k not in found.parts}
    changed._buffers = {k: b for k, b in module._buffers.items() if k not in found.parts}
    if found.layer in _PLAIN:
        changed._modules = {}
        changed._parameters = {k: p for k, p in changed._parameters.items() if k in ("weight", "bias")}
    for tensor, value in found.values.items():
        module.__dict__.pop(tensor, None)
        changed._parameters[tensor] = nn.Parameter(value, requires_grad=False)
