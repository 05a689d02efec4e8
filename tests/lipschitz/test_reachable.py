"""Every rule serves an operation that a really exported archive can hold: exported, saved, loaded, proved."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from robspec import operators
from robspec.lipschitz import rulebook
from robspec.lipschitz.prove import prove
from robspec.lipschitz.rules import refused
from robspec.models.errors import UnknownOperator
from robspec.models.loading import load
from robspec.models.operators import allowed
from robspec.semantics.norm import L2

A: Any = torch.ops.aten
BATCHES = 8
SHAPE = (4, 6, 6)
Function = Callable[[torch.Tensor], Any]


def w(*shape: int) -> torch.Tensor:
    """Weights without a generator, which would be drawn at every call."""
    return torch.sin(torch.arange(1, torch.Size(shape).numel() + 1, dtype=torch.float64)).reshape(shape)


def flat(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(2)


def deep(x: torch.Tensor) -> torch.Tensor:
    return x.unsqueeze(1)


def size(x: torch.Tensor) -> int:
    return x.shape[0]


def square_root(x: torch.Tensor) -> torch.Tensor:
    return A.sqrt(A.pow(x, 2.0).sum(1, keepdim=True))


_SIMPLE = """
abs absolute alias arcsinh arctan asinh atan celu clone contiguous cos detach elu erf fliplr gelu
hardsigmoid hardswish hardtanh leaky_relu lift_fresh_copy log_sigmoid mT mish neg
negative positive relu relu6 rrelu selu sigmoid silu sin softshrink tanh tril
triu
"""
BY_NAME: dict[str, Function] = {name: getattr(A, name) for name in _SIMPLE.split()}
FUNCTIONS: dict[str, Function] = {
    **BY_NAME,
    "_adaptive_avg_pool2d": lambda x: A._adaptive_avg_pool2d(x, [2, 3]),
    "_adaptive_avg_pool3d": lambda x: A._adaptive_avg_pool3d(deep(x), [2, 2, 3]),
    "_log_softmax": lambda x: A._log_softmax(x, 1, False),
    "_native_batch_norm_legit_no_training": lambda x: A._native_batch_norm_legit_no_training(
        x, None, None, w(4), w(4).abs() + 1, 0.1, 1e-5
    )[0],
    "_pad_circular": lambda x: A._pad_circular(x, [1, 1, 1, 1]),
    "_prelu_kernel": lambda x: A._prelu_kernel(x, w(4).reshape(1, 4, 1, 1)),
    "_safe_softmax": lambda x: A._safe_softmax(x, 1),
    "_softmax": lambda x: A._softmax(x, 1, False),
    "_to_copy": lambda x: A._to_copy(x, dtype=torch.float64),
    "_unsafe_view": lambda x: A._unsafe_view(x, [size(x), 4, 36]),
    "_upsample_nearest_exact1d": lambda x: A._upsample_nearest_exact1d(flat(x), [72]),
    "_upsample_nearest_exact2d": lambda x: A._upsample_nearest_exact2d(x, [9, 9]),
    "_upsample_nearest_exact3d": lambda x: A._upsample_nearest_exact3d(deep(x), [4, 9, 9]),
    "adaptive_avg_pool1d": lambda x: A.adaptive_avg_pool1d(flat(x), [5]),
    "adaptive_avg_pool2d": lambda x: A.adaptive_avg_pool2d(x, [4, 4]),
    "adaptive_avg_pool3d": lambda x: A.adaptive_avg_pool3d(deep(x), [2, 4, 4]),
    "adaptive_max_pool1d": lambda x: A.adaptive_max_pool1d(flat(x), [5])[0],
    "adaptive_max_pool2d": lambda x: A.adaptive_max_pool2d(x, [4, 4])[0],
    "adaptive_max_pool3d": lambda x: A.adaptive_max_pool3d(deep(x), [2, 4, 4])[0],
    "add": lambda x: A.add(x, x),
    "addmm": lambda x: A.addmm(w(3), x.mean((2, 3)), w(4, 3)),
    "alpha_dropout": lambda x: A.alpha_dropout(x, 0.5, False),
    "amax": lambda x: A.amax(x, [1]),
    "amin": lambda x: A.amin(x, [1]),
    "avg_pool1d": lambda x: A.avg_pool1d(flat(x), [2]),
    "avg_pool2d": lambda x: A.avg_pool2d(x, [2]),
    "avg_pool3d": lambda x: A.avg_pool3d(deep(x), [2]),
    "baddbmm": lambda x: A.baddbmm(w(1, 2, 36), w(2, 4).expand(size(x), 2, 4), flat(x)),
    "batch_norm": lambda x: A.batch_norm(x, w(4), w(4), w(4), w(4).abs() + 1, False, 0.1, 1e-5, False),
    "bmm": lambda x: A.bmm(w(2, 4).expand(size(x), 2, 4), flat(x)),
    "broadcast_to": lambda x: A.broadcast_to(deep(x), [size(x), 3, 4, 6, 6]),
    "cat": lambda x: A.cat([x, x], 1),
    "channel_shuffle": lambda x: A.channel_shuffle(x, 2),
    "chunk": lambda x: A.chunk(x, 2, 1)[0],
    "clamp": lambda x: A.clamp(x, 0.0, 1.0),
    "clamp_max": lambda x: A.clamp_max(x, 1.0),
    "clamp_min": lambda x: A.clamp_min(x, 0.0),
    "clip": lambda x: A.clip(x, 0.0, 1.0),
    "col2im": lambda x: A.col2im(flat(x), [7, 7], [2, 2], [1, 1], [0, 0], [1, 1]),
    "concat": lambda x: A.concat([x, x], 1),
    "concatenate": lambda x: A.concatenate([x, x], 1),
    "constant_pad_nd": lambda x: A.constant_pad_nd(x, [1, 1]),
    "conv1d": lambda x: A.conv1d(flat(x), w(2, 4, 3)),
    "conv2d": lambda x: A.conv2d(x, w(2, 4, 3, 3)),
    "conv3d": lambda x: A.conv3d(deep(x), w(2, 1, 2, 2, 2)),
    "conv_transpose1d": lambda x: A.conv_transpose1d(flat(x), w(4, 2, 3)),
    "conv_transpose2d": lambda x: A.conv_transpose2d(x, w(4, 2, 3, 3)),
    "conv_transpose3d": lambda x: A.conv_transpose3d(deep(x), w(1, 2, 2, 2, 2)),
    "convolution": lambda x: A.convolution(x, w(2, 4, 3, 3), None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1),
    "diagonal": lambda x: A.diagonal(x, 0, 2, 3),
    "div": lambda x: A.div(x, 2.0),
    "divide": lambda x: A.divide(x, 2.0),
    "dropout": lambda x: A.dropout(x, 0.5, False),
    "einsum": lambda x: A.einsum("bchw,kc->bkhw", [x, w(2, 4)]),
    "expand": lambda x: A.expand(deep(x), [-1, 2, -1, -1, -1]),
    "expand_as": lambda x: A.expand_as(x.mean((2, 3), keepdim=True), x),
    "feature_alpha_dropout": lambda x: A.feature_alpha_dropout(x, 0.5, False),
    "feature_dropout": lambda x: A.feature_dropout(x, 0.5, False),
    "flatten": lambda x: A.flatten(x, 1),
    "flip": lambda x: A.flip(x, [2]),
    "flipud": lambda x: A.flipud(x.movedim(0, 1)).movedim(1, 0),
    "float_power": lambda x: A.float_power(x, 1.0),
    "fmax": lambda x: A.fmax(x, x * 0.5),
    "fmin": lambda x: A.fmin(x, x * 0.5),
    "gather": lambda x: A.gather(x[:, :1], 1, torch.zeros(2, 2, 6, 6, dtype=torch.int64)),
    "im2col": lambda x: A.im2col(x, [2, 2], [1, 1], [0, 0], [1, 1]),
    "index": lambda x: x[:, [0, 2]],
    "index_select": lambda x: A.index_select(x, 1, torch.tensor([0, 2])),
    "inner": lambda x: A.inner(x, w(3, 6)),
    "instance_norm": lambda x: A.instance_norm(x, None, None, w(4), w(4).abs() + 1, False, 0.1, 1e-5, False),
    "kthvalue": lambda x: A.kthvalue(x, 2, 1)[0],
    "linalg_vector_norm": lambda x: A.linalg_vector_norm(x, 2, [1]),
    "linear": lambda x: A.linear(x, w(3, 6)),
    "log_sigmoid_forward": lambda x: A.log_sigmoid_forward(x)[0],
    "log_softmax": lambda x: A.log_softmax(x, 1),
    "logsumexp": lambda x: A.logsumexp(x, [1]),
    "masked_fill": lambda x: A.masked_fill(x, torch.eye(6) > 0, 0.0),
    "matmul": lambda x: A.matmul(x, w(4, 6, 2)),
    "max": lambda x: A.max(x, 1)[0],
    "max_pool1d": lambda x: A.max_pool1d(flat(x), [2]),
    "max_pool1d_with_indices": lambda x: A.max_pool1d_with_indices(flat(x), [2])[0],
    "max_pool2d": lambda x: A.max_pool2d(x, [2]),
    "max_pool2d_with_indices": lambda x: A.max_pool2d_with_indices(x, [2])[0],
    "max_pool3d": lambda x: A.max_pool3d(deep(x), [2]),
    "max_pool3d_with_indices": lambda x: A.max_pool3d_with_indices(deep(x), [2])[0],
    "maximum": lambda x: A.maximum(x, x * 0.5),
    "mean": lambda x: A.mean(x, [1]),
    "min": lambda x: A.min(x, 1)[0],
    "minimum": lambda x: A.minimum(x, x * 0.5),
    "mm": lambda x: A.mm(x.mean((2, 3)), w(4, 3)),
    "moveaxis": lambda x: A.moveaxis(x, [1], [2]),
    "movedim": lambda x: A.movedim(x, [1], [2]),
    "msort": lambda x: A.msort(x.movedim(1, 0)).movedim(1, 0),
    "mul": lambda x: A.mul(x, 2.0),
    "multiply": lambda x: A.multiply(x, 2.0),
    "mv": lambda x: A.mv(x.mean((2, 3)), w(4)),
    "narrow": lambda x: A.narrow(x, 1, 1, 2),
    "native_batch_norm": lambda x: A.native_batch_norm(x, w(4), w(4), w(4), w(4).abs() + 1, False, 0.1, 1e-5)[0],
    "native_channel_shuffle": lambda x: A.native_channel_shuffle(x, 2),
    "native_dropout": lambda x: A.native_dropout(x, 0.5, False)[0],
    "norm": lambda x: A.norm(x, 2, [1]),
    "numpy_T": lambda x: A.numpy_T(x.mean((2, 3)).t()),
    "outer": lambda x: A.outer(x.mean((1, 2, 3)), w(3)),
    "pad": lambda x: A.pad(x, [1, 1, 1, 1], "reflect"),
    "permute": lambda x: A.permute(x, [0, 2, 1, 3]),
    "pixel_shuffle": lambda x: A.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: A.pixel_unshuffle(x, 2),
    "pow": square_root,
    "prelu": lambda x: A.prelu(x, w(4)),
    "ravel": lambda x: A.ravel(x),
    "reflection_pad1d": lambda x: A.reflection_pad1d(flat(x), [1, 1]),
    "reflection_pad2d": lambda x: A.reflection_pad2d(x, [1, 1, 1, 1]),
    "reflection_pad3d": lambda x: A.reflection_pad3d(deep(x), [1, 1, 1, 1, 1, 1]),
    "repeat": lambda x: A.repeat(x, [1, 2, 1, 1]),
    "repeat_interleave": lambda x: A.repeat_interleave(x, 2, 1),
    "replication_pad1d": lambda x: A.replication_pad1d(flat(x), [1, 1]),
    "replication_pad2d": lambda x: A.replication_pad2d(x, [1, 1, 1, 1]),
    "replication_pad3d": lambda x: A.replication_pad3d(deep(x), [1, 1, 1, 1, 1, 1]),
    "reshape": lambda x: A.reshape(x, [size(x), 2, 2, 36]),
    "reshape_as": lambda x: A.reshape_as(flat(x), x),
    "roll": lambda x: A.roll(x, [1], [2]),
    "rot90": lambda x: A.rot90(x, 1, [2, 3]),
    "rsub": lambda x: A.rsub(x, 1.0),
    "select": lambda x: A.select(x, 1, 0),
    "slice": lambda x: A.slice(x, 1, 0, 2),
    "softplus": lambda x: A.softplus(x, 1.0, 40.0),
    "softmax": lambda x: A.softmax(x, 1),
    "sort": lambda x: A.sort(x, 1)[0],
    "split": lambda x: A.split(x, 2, 1)[0],
    "split_with_sizes": lambda x: A.split_with_sizes(x, [1, 3], 1)[0],
    "sqrt": square_root,
    "square": lambda x: torch.sqrt(A.square(x).sum(1)),
    "squeeze": lambda x: A.squeeze(x[:, :1], 1),
    "stack": lambda x: A.stack([x, x], 1),
    "sub": lambda x: A.sub(x, x * 0.5),
    "subtract": lambda x: A.subtract(x, x * 0.5),
    "sum": lambda x: A.sum(x, [1]),
    "swapaxes": lambda x: A.swapaxes(x, 1, 2),
    "swapdims": lambda x: A.swapdims(x, 1, 2),
    "t": lambda x: A.t(x.mean((2, 3))).t(),
    "take_along_dim": lambda x: A.take_along_dim(x[:, :1], torch.zeros(1, 2, 1, 1, dtype=torch.int64), 1),
    "tensor_split": lambda x: A.tensor_split(x, 2, 1)[0],
    "tensordot": lambda x: A.tensordot(x, w(6, 3), [3], [0]),
    "threshold": lambda x: A.threshold(x, 0.0, 0.0),
    "tile": lambda x: A.tile(x, [1, 2, 1, 1]),
    "to": lambda x: A.to(x, torch.float64),
    "topk": lambda x: A.topk(x, 2, 1)[0],
    "transpose": lambda x: A.transpose(x, 1, 2),
    "true_divide": lambda x: A.true_divide(x, 2.0),
    "type_as": lambda x: A.type_as(x, x),
    "unbind": lambda x: A.unbind(x, 1)[0],
    "unflatten": lambda x: A.unflatten(x, 1, [2, 2]),
    "unfold": lambda x: A.unfold(x, 2, 2, 1),
    "unsqueeze": lambda x: A.unsqueeze(x, 1),
    "upsample_bicubic2d": lambda x: A.upsample_bicubic2d(x, [9, 9], False),
    "upsample_bilinear2d": lambda x: A.upsample_bilinear2d(x, [9, 9], False),
    "upsample_linear1d": lambda x: A.upsample_linear1d(flat(x), [72], False),
    "upsample_nearest1d": lambda x: A.upsample_nearest1d(flat(x), [72]),
    "upsample_nearest2d": lambda x: A.upsample_nearest2d(x, [9, 9]),
    "upsample_nearest3d": lambda x: A.upsample_nearest3d(deep(x), [4, 9, 9]),
    "upsample_trilinear3d": lambda x: A.upsample_trilinear3d(deep(x), [4, 9, 9], False),
    "view": lambda x: A.view(x, [size(x), 4, 36]),
    "view_as": lambda x: A.view_as(flat(x), x),
    "where": lambda x: A.where(torch.eye(6) > 0, x, x * 0.5),
}
FIXED = ["gather", "native_channel_shuffle", "take_along_dim"]
"""Those that torch.export traces for one batch size only."""
ELSEWHERE = {
    "cudnn_batch_norm": "needs a GPU",
    "lift_fresh": "torch.export writes lift_fresh_copy in its place",
    "_native_batch_norm_legit": "its schema says that it writes to the statistics, and it is refused for that",
}


class Joined(nn.Module):
    """Many operations, each applied to the image, side by side."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Flatten what each gives, and join."""
        made = [FUNCTIONS[name](x) for name in self.names]
        parts = [m.reshape(x.shape[0], -1, 1, 1) for m in made]
        return torch.cat(parts, 1)


def rule_names() -> list[str]:
    return sorted(set(rulebook.table()) - set(refused.OPERATIONS))


def groups() -> list[list[str]]:
    names = sorted(set(FUNCTIONS) - set(FIXED))
    return [*(names[start::BATCHES] for start in range(BATCHES)), FIXED]


def exported(module: nn.Module, path: Path, *, fixed: bool = False) -> None:
    dynamic = None if fixed else ({0: torch.export.Dim("batch", min=1, max=8)},)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = torch.rand(2, *SHAPE, dtype=torch.float64)
        torch.export.save(torch.export.export(module.eval(), (images,), dynamic_shapes=dynamic), path)


def test_every_rule_has_a_model_here() -> None:
    assert set(FUNCTIONS) | set(ELSEWHERE) == set(rule_names())


@pytest.mark.parametrize("names", groups(), ids=lambda names: f"{names[0]} and others")
def test_every_rule_is_reached_through_a_loaded_archive(names: list[str], tmp_path: Path) -> None:
    exported(Joined(names), tmp_path / "m.pt2", fixed=names is FIXED)
    model = load(tmp_path / "m.pt2")
    called = {str(n.target).split(".")[1] for n in model.program.graph.nodes if str(n.target).startswith("aten.")}
    assert set(names) <= called
    assert math.isfinite(prove(model.program, input_norm=L2, output_norm=L2).bound)
    assert model.logits(torch.rand(3, *SHAPE)).shape[0] == 3


def test_the_list_holds_nothing_that_reads_files_or_draws_numbers() -> None:
    """An operator that draws numbers is told by torch itself; each takes an argument that turns it off."""
    off = {"train", "training", "dropout_p"}
    for name in sorted(operators.ALLOWED | {f"{n}_" for n in operators.ALLOWED}):
        packet = getattr(A, name, None)
        for overload in packet.overloads() if packet is not None else ():
            found = getattr(packet, overload)
            if not allowed(f"torch.ops.aten.{name}.{overload}"):
                continue
            names = {a.name for a in found._schema.arguments}
            kinds = {str(a.type) for a in found._schema.arguments}
            assert torch.Tag.nondeterministic_seeded not in found.tags or names & off, name
            assert not any("__torch__" in k or k in ("Any", "Storage", "Stream") for k in kinds), name
            written = [a.name for a in found._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
            assert written in ([], ["self"], ["input"], ["running_mean", "running_var"]), name


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.topk.values",
        "torch.ops.aten.max.dim_max",
        "torch.ops.aten.add.out",
        "torch.ops.aten.add.str",
        "torch.ops.aten.mul.left_t",
        "torch.ops.aten.pow.int",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.bernoulli.default",
        "torch.ops.aten.rrelu_with_noise.default",
        "torch.ops.aten.empty_like.default",
        "torch.ops.aten.resize_.default",
        "torch.ops.aten.set_.default",
        "torch.ops.aten.uniform_.default",
        "torch.ops.aten.relu.nowhere",
        "torch.ops.aten.relu__.default",
        "torch.ops.prim.relu.default",
    ],
)
def test_what_no_file_may_call(target: str) -> None:
    assert not allowed(target)


def test_a_rule_for_what_no_file_may_call_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robspec.lipschitz.rulebook.listed", lambda name: name != "topk")
    rulebook.table.cache_clear()
    try:
        with pytest.raises(RuntimeError, match="topk"):
            rulebook.table()
    finally:
        rulebook.table.cache_clear()


def test_attention_that_drops_entries_is_refused(tmp_path: Path) -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=0.5)

    exported(Attention(), tmp_path / "m.pt2")
    with pytest.raises(UnknownOperator, match="at random"):
        load(tmp_path / "m.pt2")
