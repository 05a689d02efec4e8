"""What to do where the names of weights are not those of a network: a prefix, a wrapper, another network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeAlias

Shape: TypeAlias = tuple[int, ...]
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_SHOWN = 4


def listed(names: Iterable[str]) -> str:
    """Show the first few names, each within reason."""
    found = [repr(name[:80]) for name in names]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


def fitting(network: Mapping[str, Shape], weights: Mapping[str, Shape]) -> str:
    """Find the option, or the change, that makes weights fit a network.

    Args:
        network: the shapes of its weights, by name.
        weights: those of the file.

    Returns:
        A mend; empty where the names are no matter of prefixes.
    """
    prefix = _more(network, weights)
    if prefix and all(weights.get(prefix + n) == shape for n, shape in network.items()):
        others = sum(not n.startswith(prefix) for n in weights)
        beside = f"; the {others} weights without it are then left out" if others else ""
        return f"the weights' names have {prefix!r} before the network's: {_strip(prefix)}{beside}"
    if dict(network) == {_unwrapped(n): shape for n, shape in weights.items()}:
        found = " and ".join(repr(f"{w}.") for w in _WRAPPERS if any(w in n.split(".") for n in weights))
        return (
            f"the weights' names have {found} inside: save them from the network that is wrapped, or rename them:\n"
            "    import torch\n"
            '    found = torch.load("weights.pt", weights_only=True)  # put in the name of your file\n'
            f"    wrapped = {_WRAPPERS}\n"
            '    plain = {".".join(p for p in k.split(".") if p not in wrapped): v for k, v in found.items()}\n'
            '    torch.save(plain, "plain.pt")'
        )
    lacking = _more(weights, network)
    if lacking and all(network.get(lacking + n) == shape for n, shape in weights.items()):
        return (
            f"the network's names have {lacking!r} before the weights': load the weights inside the factory, before "
            "the network is wrapped, and leave out --weights"
        )
    if prefix:
        return (
            f"the weights' names have {prefix!r} before the network's: {_strip(prefix)}; some of the network's are "
            "missing even so: use the weights of this very architecture"
        )
    return ""


def _strip(prefix: str) -> str:
    return f"give the option `--strip-prefix {prefix}`"


def _more(inner: Mapping[str, Shape], outer: Mapping[str, Shape]) -> str:
    """Find what most outer names have before an inner one, whole parts of a name only."""
    found: Counter[str] = Counter()
    for name, shape in outer.items():
        parts = name.split(".")[:32]
        for count in range(1, len(parts)):
            if inner.get(".".join(parts[count:])) == shape:
                found[".".join(parts[:count]) + "."] += 1
    best = max(found.items(), key=lambda item: (item[1], -len(item[0])), default=("", 0))
    return best[0] if 2 * best[1] > len(inner) else ""


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)
