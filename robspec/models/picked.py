"""A network that returns several things, as one that returns its logits."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from robspec.models.errors import ModelChoice


class Picked(nn.Module):
    """Returns one output of a network.

    Args:
        network: returns a dictionary, a tuple or a list, or such inside one another.
        output: key or number, joined by dots where they are nested.
    """

    def __init__(self, network: nn.Module, output: str) -> None:
        super().__init__()
        self.network = network
        self.output = output

    def forward(self, images: Tensor) -> Tensor:
        found: Any = self.network(images)
        for key in self.output.split("."):
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif isinstance(found, list | tuple) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            else:
                there = list(found) if isinstance(found, dict) else list(range(len(found))) if _listed(found) else []
                raise ModelChoice(
                    type(self.network).__name__,
                    f"the model returns nothing called {self.output[:40]!r}",
                    f"there is {', '.join(map(str, there[:12])) or 'one tensor: leave the output out'}",
                )
        if not isinstance(found, Tensor):
            raise ModelChoice(
                type(self.network).__name__,
                f"{self.output[:40]!r} is a {type(found).__name__}",
                "name its tensor",
            )
        return found


def _listed(found: Any) -> bool:
    return isinstance(found, list | tuple)
