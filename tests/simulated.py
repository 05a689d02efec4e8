"""A GPU that is none: tensors that lie on the CPU, say that they lie on `cuda:N`, and behave so.

They meet no tensor of the CPU in an operation, but for single numbers, and numpy cannot view them: so what would fail
on a GPU for want of a move fails here. What is computed are the same bits as on the CPU; it says nothing of how
kernels of a GPU round, or of Triton on one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from robspec.kernels.knapsack import _triton_launch
from robspec.session import device as devices

CUDA = torch.device("cuda", 0)
_CPU = torch.device("cpu")
_MOVES = (torch.Tensor.copy_, torch.Tensor.set_)
_VIEWS = (torch.Tensor.numpy, torch.Tensor.__array__)
_NEVER = "cuda:0 tensors cannot be viewed by numpy: use Tensor.cpu() to copy them first"


class Far(torch.Tensor):
    """A tensor that is on the device."""

    place: torch.device

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), keywords: dict[str, Any] | None = None
    ) -> Any:
        keywords = keywords or {}
        if function == torch.Tensor.device.__get__:  # type: ignore[attr-defined]
            return args[0].place
        tensors = [t for t in tree_leaves((args, keywords)) if isinstance(t, torch.Tensor)]
        places = {t.place for t in tensors if isinstance(t, Far)}
        near = [t for t in tensors if not isinstance(t, Far) and _bare(t).dim() > 0]
        if (near and function not in _MOVES) or len(places) > 1:
            raise RuntimeError(f"expected all tensors to be on the same device: {function}")
        if function in _VIEWS:
            raise TypeError(_NEVER)
        asked = [d for d in map(_named, tree_leaves((args[1:], keywords))) if d is not None]
        fetched = function is torch.Tensor.cpu or (bool(asked) and asked[-1].type == "cpu")
        args, keywords = tree_map(_near, (args, keywords))
        found = function(*args, **keywords)
        if isinstance(tensors[0], Far) and found is _bare(tensors[0]):
            return tensors[0]
        return (
            found
            if fetched or isinstance(found, torch.Size)
            else tree_map(lambda t: _far(t, next(iter(places))), found)
        )


def _bare(tensor: torch.Tensor) -> torch.Tensor:
    with torch._C.DisableTorchFunction():
        return tensor.as_subclass(torch.Tensor) if isinstance(tensor, Far) else tensor


def _far(value: Any, place: torch.device) -> Any:
    if not isinstance(value, torch.Tensor) or isinstance(value, Far):
        return value
    with torch._C.DisableTorchFunction():
        made = value.as_subclass(Far)
    made.place = place
    return made


def _near(value: Any) -> Any:
    if isinstance(value, Far):
        return _bare(value)
    return value if _named(value) is None else _CPU


def _named(value: Any) -> torch.device | None:
    """The device that an argument names."""
    if isinstance(value, str) and value.partition(":")[0] in ("cpu", "cuda"):
        value = torch.device(value)
    if not isinstance(value, torch.device):
        return None
    return torch.device("cuda", value.index or 0) if value.type == "cuda" else _CPU


class _Factories(TorchFunctionMode):
    """Sends tensors to the device, and makes them there: this build of torch knows how to do neither."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), keywords: dict[str, Any] | None = None
    ) -> Any:
        keywords = keywords or {}
        named = (*args[1:], keywords.get("device"))
        places = [p for p in map(_named, named) if p is not None and p.type == "cuda"]
        if any(isinstance(t, Far) for t in tree_leaves((args, keywords))):
            return function(*args, **keywords)
        if not places or function is torch.autocast:
            return function(*args, **keywords)
        args, keywords = tree_map(_near, (args, keywords))
        return tree_map(lambda t: _far(t, places[0]), function(*args, **keywords))


@contextmanager
def simulated(count: int = 1, interpreted: bool = True) -> Iterator[list[torch.device]]:
    """Have torch find devices, for `--device`.

    Args:
        count: how many.
        interpreted: whether Triton is there, and interprets its kernels.

    Yields:
        Where networks have run.
    """
    from robspec.kernels.knapsack.triton_cuda import TritonBackend
    from robspec.models.loading import LoadedModel

    ran: list[torch.device] = []
    logits: Callable[..., torch.Tensor] = LoadedModel.logits

    def told(self: LoadedModel, images: Any) -> torch.Tensor:
        found = logits(self, images)
        assert found.device == self.device
        assert isinstance(found, Far) == (self.device.type == "cuda")
        ran.append(self.device)
        return found

    with pytest.MonkeyPatch.context() as patch, _Factories():
        patch.setattr(devices, "missing", lambda number: "" if number < count else f"there are {count}")
        patch.setattr(torch.cuda, "get_device_name", lambda number: f"simulated {number}")
        patch.setattr(torch.cuda, "device_count", lambda: count)
        patch.setattr(devices, "current", lambda name: nullcontext())
        patch.setattr(_triton_launch, "_device", lambda: CUDA)
        patch.setattr(LoadedModel, "logits", told)
        if not interpreted:
            patch.setattr(TritonBackend, "unavailable", lambda self: "it is left out")
        yield ran
