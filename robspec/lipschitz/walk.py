"""Walks the graph once, folding constants and giving every value that depends on the image its step."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from robspec.errors import RobspecError
from robspec.function import aliasing
from robspec.function.errors import MixedBatch, NotFinite, UnsuitableProgram
from robspec.function.layout import Layout, read, where
from robspec.function.nodes import arguments, is_check, is_size, kinds, operation, plain
from robspec.function.program import AnyProgram
from robspec.function.settle import folded, settle
from robspec.lipschitz import batch, places
from robspec.lipschitz.batch import Count, Opaque, Spread
from robspec.lipschitz.call import Call, Constant
from robspec.lipschitz.errors import NoGlobalConstant, UnknownOperation
from robspec.lipschitz.rulebook import Rule, table
from robspec.lipschitz.values import Step, Value
from robspec.semantics.norm import Norm

_TRACING_ERRORS = (
    RuntimeError,
    TypeError,
    ValueError,
    IndexError,
    NotImplementedError,
    DataDependentOutputException,
    DynamicOutputShapeException,
)


@dataclass(frozen=True, eq=False)
class _Entry:
    """What a node holds: data (one value or several), or what does not depend on the image's entries.

    Args:
        data: the value, or values of several outputs; None for constants and sizes.
        constant: a fixed tensor or number, a Count, a Spread or an Opaque; None for data.
        traced: the node's result under both batch sizes, fake for data.
    """

    data: Value | list[Value | None] | None
    constant: object
    traced: tuple[Any, Any]


class Walk:
    """One pass over a program in one norm r.

    Args:
        program: the exported program.
        norm: r; distances are measured in l_r at every node.
    """

    def __init__(self, program: AnyProgram, norm: Norm) -> None:
        self.program = settle(program)
        self.norm = norm
        self.layout: Layout = read(self.program)
        self.values: list[Value] = []
        self.calls: dict[fx.Node, Call] = {}
        self.nodes: dict[str, fx.Node] = {node.name: node for node in self.program.graph.nodes}
        self.folded = folded(self.program)
        self._kinds = kinds(self.program.graph, self.layout.image)
        self._entries: dict[fx.Node, _Entry] = {}
        self._seen: dict[object, fx.Node] = {}
        self._twins: dict[fx.Node, fx.Node] = {}
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    def run(self) -> Value:
        """Walk to the output.

        Returns:
            The output value; its bound is computed.

        Raises:
            RobspecError: some node that the output depends on has no bound.
        """
        with torch.no_grad():
            for node in self.program.graph.nodes:
                if node.op == "placeholder":
                    self._entries[node] = self._placeholder(node)
                elif node.op == "call_function" and not is_check(node):
                    self._call(node)
            result = self._entries[self.layout.output]
            if not isinstance(result.data, Value):
                what = "the output does not depend on the image"
                raise UnsuitableProgram(self.layout.output.name, what, "return the logits computed from the image")
            output = result.data
            _ = output.known
            if self.layout.axis is not None and output.axis != 0:
                what = "the batch is not the first dimension of the output"
                raise MixedBatch(self.layout.output.name, what, "return logits of shape (batch, ...)")
            return output

    def first(self, name: str) -> str:
        """Name the first node that computes the same as this one, itself where there is none."""
        node = self.nodes[name]
        return self._twins.get(node, node).name

    def _placeholder(self, node: fx.Node) -> _Entry:
        layout = self.layout
        if node is not layout.image:
            value = layout.constants[node.name]
            return _Entry(None, value, (value, value))
        step = Step("input", (), lambda _: 1.0, layout.axis)
        image = Value(node.name, node, layout.shape, layout.dtype, step, self.norm)
        self.values.append(image)
        traced = []
        for size in layout.batches:
            shape = list(layout.shape)
            if layout.axis is not None:
                shape[layout.axis] *= size
            with self._mode:
                traced.append(torch.empty(shape, dtype=layout.dtype))
        return _Entry(image, None, (traced[0], traced[1]))

    def _call(self, node: fx.Node) -> None:
        sources = [self._entries[source] for source in node.all_input_nodes]
        if node.target is operator.getitem and isinstance(sources[0].data, list):
            index = int(node.args[1])  # type: ignore[arg-type]
            self._entries[node] = _Entry(
                sources[0].data[index], None, (sources[0].traced[0][index], sources[0].traced[1][index])
            )
            return
        twin = self._seen.setdefault(self._signature(node), node)
        if twin is not node and not aliasing.mutated_inputs(node):
            self._twins[node] = twin
            self._entries[node] = self._entries[twin]
        elif self._kinds[node] == "data":
            self._entries[node] = self._data(node, plain(operation(node)))
        else:
            self._entries[node] = self._follow(node)

    def _traced(self, index: int) -> Callable[[fx.Node], Any]:
        """Look up what a node gave under the first or the second batch size."""
        return lambda source: self._entries[source].traced[index]

    def _signature(self, node: fx.Node) -> object:
        """Write a node with its arguments replaced by the first node that computes the same, so that equals
        coincide.
        """

        def write(item: object) -> object:
            if isinstance(item, fx.Node):
                return ("node", self._twins.get(item, item))
            if isinstance(item, list | tuple):
                return tuple(write(part) for part in item)
            return (type(item).__name__, str(item))

        named = tuple((name, write(item)) for name, item in sorted(node.kwargs.items()))
        return (node.target, write(node.args), named)

    def _follow(self, node: fx.Node) -> _Entry:
        """Say what a node gives that reads no entry of the image, for every batch size."""
        source = node.args[0] if node.args else None
        data = self._entries[source].data if isinstance(source, fx.Node) else None
        if isinstance(data, Value) and is_size(node):
            found = places.size_of(node, data)
        elif isinstance(data, Value) and operation(node).endswith("_like"):
            found = places.like(node, data)
        else:
            found = batch.follow(node, self._symbol)
        if isinstance(found, torch.Tensor) and found.is_floating_point() and bool(torch.isnan(found).any()):
            raise NotFinite(self._where(node), "a constant computed from the weights is NaN", "repair the weights")
        first, second = (batch.traced(found, size) for size in self.layout.batches)
        return _Entry(None, found, (first, second))

    def _constant(self, source: fx.Node) -> object:
        """What a node is that reads no entry of the image, None of data."""
        return self._entries[source].constant

    def _symbol(self, source: fx.Node) -> object:
        """What a source of a node of sizes is; data serves there for its element type only."""
        entry = self._entries[source]
        return entry.traced[0] if entry.data is not None else entry.constant

    def _data(self, node: fx.Node, name: str) -> _Entry:
        traced = []
        places.check_sizes(node, name, self._constant, self._where(node))
        try:
            for index in (0, 1):
                args, keywords = self._arguments(node, self._traced(index))
                with self._mode:
                    traced.append(node.target(*args, **keywords))  # type: ignore[operator]
        except _TRACING_ERRORS as error:
            what = f"its shape could not be worked out: {type(error).__name__}: {error}"
            raise UnsuitableProgram(
                self._where(node), what, "export the model again with this version of torch"
            ) from error
        steps: list[Step | None]
        single = isinstance(traced[0], torch.Tensor)
        if not single and not isinstance(traced[0], list | tuple):
            what = "a number is computed from the image and used as such"
            raise UnsuitableProgram(self._where(node), what, "keep the image out of Python numbers")
        outputs = [traced[0]] if single else list(traced[0])
        later = [traced[1]] if single else list(traced[1])
        try:
            steps = self._steps(node, name, outputs)
            for step, first in zip(steps, outputs, strict=True):
                if step is not None and isinstance(first, torch.Tensor):
                    places.check_places(node, name, self._constant, step, first.shape, self._where(node))
        except RobspecError as error:
            inputs = self._inputs(node)
            causes = (v.step.refusal for v in inputs if v.step.refusal is not None and v.step.squares is None)
            steps = [_refused(next(causes, error), inputs)] * len(outputs)
        values: list[Value | None] = []
        for index, (step, first, second) in enumerate(zip(steps, outputs, later, strict=True)):
            if not isinstance(first, torch.Tensor):
                values.append(None)
                continue
            if step is None:
                what = f"output {index} of {name} is not a continuous function of the image"
                mend = "use the values only, not their positions"
                refusal = NoGlobalConstant(self._where(node), what, mend, jumps=True)
                step = _refused(refusal, self._inputs(node))
            label = node.name if single else f"{node.name}.{index}"
            values.append(self._value(label, node, step, first, second))
        return _Entry(values[0] if single else values, None, (traced[0], traced[1]))

    def _steps(self, node: fx.Node, name: str, outputs: list[Any]) -> list[Step | None]:
        rule = table().get(name)
        if rule is None:
            raise UnknownOperation(self._where(node), f"there is no rule for {node.target}", _ADD)
        call = Call(
            node=node,
            name=name,
            arguments=self._named(node),
            shapes=tuple(tuple(o.shape) if isinstance(o, torch.Tensor) else () for o in outputs),
            batch=self.layout.batches[0],
            norm=self.norm,
            where=self._where(node),
            dtypes=tuple(o.dtype if isinstance(o, torch.Tensor) else torch.float32 for o in outputs),
            lookup=self._lookup,
            own=self.layout.dtype,
        )
        self.calls[node] = call
        self._check_arguments(call, rule)
        answer = rule.bound(call)
        steps = [answer] if isinstance(answer, Step) else list(answer)
        steps += [None] * (len(outputs) - len(steps))
        return steps

    def _value(self, label: str, node: fx.Node, step: Step, first: torch.Tensor, second: torch.Tensor) -> Value:
        shape, problem = self._per_image(step, tuple(first.shape), tuple(second.shape))
        if problem and (step.refusal is None or step.squares is not None):
            error = MixedBatch(self._where(node), problem, "keep the batch as its own leading dimension")
            step = _refused(error, step.inputs)
        # Back to the image's own type it is rounding like any other; to a narrower one it is more than that.
        back = first.dtype == self.layout.dtype and plain(operation(node)) in ("to", "_to_copy")
        narrowed = [v for v in step.inputs if _bits(first.dtype) < _bits(v.dtype) and not back]
        if (narrowed or not first.is_floating_point()) and step.refusal is None:
            what = f"the result has element type {first.dtype}, which cannot hold the data"
            jumps = not first.is_floating_point()
            refusal = NoGlobalConstant(self._where(node), what, "keep one floating-point type", jumps=jumps)
            step = _refused(refusal, step.inputs)
        value = Value(label, node, shape, first.dtype, step, self.norm)
        self.values.append(value)
        if step.refusal is None and step.view is None and step.alias is None:
            try:
                _ = value.known
            except RobspecError as error:
                value.step = _refused(error, step.inputs)
        return value

    def _check_arguments(self, call: Call, rule: Rule) -> None:
        """Refuse data in an argument that the rule does not expect to depend on the image."""
        for name, item in call.arguments.items():
            items = item if isinstance(item, list) else [item]
            if any(isinstance(part, Value) for part in items) and name not in rule.data:
                raise call.refuse(f"argument {name} depends on the image")

    def _per_image(self, step: Step, first: tuple[int, ...], second: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
        """Divide the batch out of a shape; say what is wrong where that cannot be done."""
        axis, (small, large) = step.axis, self.layout.batches
        if self.layout.axis is None:
            return first, ""
        if axis is None or axis >= len(first):
            return first, "the batch dimension is lost here"
        for dim, (a, b) in enumerate(zip(first, second, strict=True)):
            if dim != axis and a != b:
                return first, f"dimension {dim} grows with the batch"
        if first[axis] % small or second[axis] % large or first[axis] // small != second[axis] // large:
            return first, f"dimension {axis} does not hold whole images"
        return (*first[:axis], first[axis] // small, *first[axis + 1 :]), ""

    def _named(self, node: fx.Node) -> dict[str, object]:
        """Arguments by schema name, with values and constants in place of nodes."""

        def resolve(item: object) -> object:
            if isinstance(item, fx.Node):
                entry = self._entries[item]
                return entry.data if entry.data is not None else _for_rules(entry.constant)
            if isinstance(item, list | tuple):
                return [resolve(part) for part in item]
            return item

        schema = getattr(node.target, "_schema", None)
        if schema is None:
            return {str(i): resolve(item) for i, item in enumerate(node.args)}
        named: dict[str, object] = {}
        for index, argument in enumerate(schema.arguments):
            if index < len(node.args):
                named[argument.name] = resolve(node.args[index])
            elif argument.name in node.kwargs:
                named[argument.name] = resolve(node.kwargs[argument.name])
            elif argument.has_default_value():
                named[argument.name] = argument.default_value
        end = {key: item for key, _, item in arguments(node)}.get("end") if operation(node) == "slice" else None
        if isinstance(end, fx.Node) and self._whole(node, end):
            named["end"] = 2**63 - 1
        return named

    def _whole(self, node: fx.Node, end: fx.Node) -> bool:
        """Whether a slice of the batch ends where the batch ends."""
        source, end_at = self._entries[node.args[0]].data, self._entries[end].constant  # type: ignore[index]
        dim = {key: item for key, _, item in arguments(node)}.get("dim", 0)
        if not isinstance(source, Value) or not isinstance(dim, int) or not isinstance(end_at, Count):
            return False
        return source.axis == dim % len(source.shape) and end_at.times == source.shape[source.axis]

    def _arguments(
        self,
        node: fx.Node,
        look: Callable[[fx.Node], Any],
    ) -> tuple[Any, Any]:
        return fx.map_arg(node.args, look), fx.map_arg(node.kwargs, look)

    def _inputs(self, node: fx.Node) -> tuple[Value, ...]:
        found: list[Value] = []
        for source in node.all_input_nodes:
            data = self._entries[source].data
            found += [data] if isinstance(data, Value) else [v for v in data or [] if v is not None]
        return tuple(found)

    def _lookup(self, node: fx.Node) -> object:
        entry = self._entries.get(node)
        return None if entry is None else entry.constant if entry.data is None else entry.data

    def _where(self, node: fx.Node) -> str:
        return where(node, self.layout)


_ADD = "express it through operations robspec knows, or add a rule file in robspec/lipschitz/rules/"


def _refused(error: RobspecError, inputs: tuple[Value, ...]) -> Step:
    axis = next((value.axis for value in inputs), None)
    return Step("refused", inputs, lambda _: float("inf"), axis, refusal=error)


def _bits(dtype: torch.dtype) -> int:
    return torch.finfo(dtype).bits if dtype.is_floating_point else 0


def _for_rules(constant: object) -> Constant:
    """Show a constant to the rules: of a tensor that is repeated for every image, one slice; of a size, nothing."""
    if isinstance(constant, Spread):
        return Constant(constant.template, images=constant.axis)
    return Constant(constant, sized=isinstance(constant, Count | Opaque))
