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
from torch.export import ExportedProgram

from robspec.errors import RobspecError
from robspec.lipschitz import aliasing
from robspec.lipschitz.call import Call, Constant
from robspec.lipschitz.errors import (
    MixedBatch,
    NoGlobalConstant,
    NotFinite,
    UnknownOperation,
    UnsuitableProgram,
)
from robspec.lipschitz.program import Layout, module_path, read, source_line
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
_SIZES = ("sym_size", "sym_stride", "sym_numel", "sym_storage_offset")
_CHECKS = ("_assert", "sym_constrain", "_functional_assert")


@dataclass(frozen=True, eq=False)
class _Entry:
    """What a node holds: data (one value or several), or a constant; and its two traced shapes.

    Args:
        data: the value, or values of several outputs; None for constants.
        constant: the folded constant; None for data.
        traced: the node's result under both batch sizes, fake for data.
    """

    data: Value | list[Value | None] | None
    constant: Constant | None
    traced: tuple[Any, Any]


class Walk:
    """One pass over a program in one norm r.

    Args:
        program: the exported program.
        norm: r; distances are measured in l_r at every node.
    """

    def __init__(self, program: ExportedProgram, norm: Norm) -> None:
        self.program = program
        self.norm = norm
        self.layout: Layout = read(program)
        self.values: list[Value] = []
        self.nodes: dict[str, fx.Node] = {node.name: node for node in program.graph.nodes}
        self.folded = 0
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
                elif node.op == "get_attr":
                    found = operator.attrgetter(str(node.target))(self.program.graph_module)
                    self._entries[node] = _Entry(None, Constant(found), (found, found))
                elif node.op == "call_function":
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

    def _placeholder(self, node: fx.Node) -> _Entry:
        layout = self.layout
        if node is not layout.image:
            value = layout.constants[node.name]
            return _Entry(None, Constant(value), (value, value))
        step = Step("input", (), lambda _: 1.0, layout.axis)
        image = Value(node.name, node, layout.shape, layout.dtype, step, self.norm)
        self.values.append(image)
        traced = []
        for batch in layout.batches:
            shape = list(layout.shape)
            if layout.axis is not None:
                shape[layout.axis] *= batch
            with self._mode:
                traced.append(torch.empty(shape, dtype=layout.dtype))
        return _Entry(image, None, (traced[0], traced[1]))

    def _call(self, node: fx.Node) -> None:
        name = str(getattr(getattr(node.target, "overloadpacket", node.target), "__name__", node.target))
        if name.startswith(_CHECKS):
            return
        sources = [self._entries[source] for source in node.all_input_nodes if source in self._entries]
        if len(sources) != len(node.all_input_nodes):
            raise UnknownOperation(self._where(node), "the node reads a check that returns nothing", _ADD)
        if node.target is operator.getitem and isinstance(sources[0].data, list):
            index = int(node.args[1])  # type: ignore[arg-type]
            self._entries[node] = _Entry(
                sources[0].data[index], None, (sources[0].traced[0][index], sources[0].traced[1][index])
            )
            return
        self._check_in_place(node)
        twin = self._seen.setdefault(self._signature(node), node)
        if twin is not node and not aliasing.mutated_inputs(node):
            self._twins[node] = twin
            self._entries[node] = self._entries[twin]
        elif not any(source.data is not None for source in sources):
            self._entries[node] = self._fold(node)
        elif name.startswith(_SIZES):
            self._entries[node] = self._size(node)
        else:
            self._entries[node] = self._data(node, name)

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

    def _fold(self, node: fx.Node) -> _Entry:
        """Evaluate a node of constants in the element type the graph itself uses."""
        self.folded += 1
        tags = getattr(node.target, "tags", ())
        if torch.Tag.nondeterministic_seeded in tags:
            raise UnsuitableProgram(self._where(node), "a constant is drawn at random on every call", "fix the draw")
        function: Callable[..., Any] = node.target  # type: ignore[assignment]
        mutated = aliasing.mutated_inputs(node)
        results = []
        sized = any(_sized(self._entries[source]) for source in node.all_input_nodes)
        for index in (0, 1) if sized else (0,):
            args, keywords = self._arguments(node, self._traced(index), mutated)
            results.append(function(*args, **keywords))
        if isinstance(results[0], torch.Tensor):
            self._finite(node, results[0])
        else:
            sized = sized and results[0] != results[1]
        return _Entry(None, Constant(results[0], sized), (results[0], results[-1]))

    def _finite(self, node: fx.Node, folded: torch.Tensor) -> None:
        """Refuse NaN where a constant is used with data; infinities may be masked later and are refused by
        rules.
        """
        if folded.is_floating_point() and bool(torch.isnan(folded).any()):
            raise NotFinite(self._where(node), "a constant computed from the weights is NaN", "repair the weights")

    def _size(self, node: fx.Node) -> _Entry:
        function: Callable[..., Any] = node.target  # type: ignore[assignment]
        pair = []
        for index in (0, 1):
            args, keywords = self._arguments(node, self._traced(index), ())
            pair.append(function(*args, **keywords))
        return _Entry(None, Constant(pair[0], sized=pair[0] != pair[1]), (pair[0], pair[1]))

    def _data(self, node: fx.Node, name: str) -> _Entry:
        traced = []
        try:
            for index in (0, 1):
                args, keywords = self._arguments(node, self._traced(index), (), fake=True)
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
                step = _refused(NoGlobalConstant(self._where(node), what, mend), self._inputs(node))
            label = node.name if single else f"{node.name}.{index}"
            values.append(self._value(label, node, step, first, second))
        return _Entry(values[0] if single else values, None, (traced[0], traced[1]))

    def _steps(self, node: fx.Node, name: str, outputs: list[Any]) -> list[Step | None]:
        canonical = name[:-1] if name.endswith("_") and not name.startswith("__") else name
        rule = table().get(canonical)
        if rule is None:
            raise UnknownOperation(self._where(node), f"there is no rule for {node.target}", _ADD)
        call = Call(
            node=node,
            name=canonical,
            arguments=self._named(node),
            shapes=tuple(tuple(o.shape) if isinstance(o, torch.Tensor) else () for o in outputs),
            batch=self.layout.batches[0],
            norm=self.norm,
            where=self._where(node),
            dtypes=tuple(o.dtype if isinstance(o, torch.Tensor) else torch.float32 for o in outputs),
            lookup=self._lookup,
        )
        self._check_arguments(call, rule)
        answer = rule.bound(call)
        steps = [answer] if isinstance(answer, Step) else list(answer)
        steps += [None] * (len(outputs) - len(steps))
        return steps

    def _value(self, label: str, node: fx.Node, step: Step, first: torch.Tensor, second: torch.Tensor) -> Value:
        shape, problem = self._per_image(step, tuple(first.shape), tuple(second.shape))
        if problem and step.refusal is None:
            error = MixedBatch(self._where(node), problem, "keep the batch as its own leading dimension")
            step = _refused(error, step.inputs)
        narrowed = [v for v in step.inputs if _bits(first.dtype) < _bits(v.dtype)]
        if (narrowed or not first.is_floating_point()) and step.refusal is None:
            what = f"the result has element type {first.dtype}, which cannot hold the data"
            step = _refused(NoGlobalConstant(self._where(node), what, "keep one floating-point type"), step.inputs)
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
                return entry.constant if entry.constant is not None else entry.data
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
        return named

    def _arguments(
        self,
        node: fx.Node,
        look: Callable[[fx.Node], Any],
        cloned: tuple[fx.Node, ...],
        *,
        fake: bool = False,
    ) -> tuple[Any, Any]:
        def resolve(source: fx.Node) -> Any:
            found = look(source)
            return found.clone() if source in cloned else found

        args = fx.map_arg(node.args, resolve)
        keywords = fx.map_arg(node.kwargs, resolve)
        return args, keywords

    def _inputs(self, node: fx.Node) -> tuple[Value, ...]:
        found: list[Value] = []
        for source in node.all_input_nodes:
            data = self._entries[source].data
            found += [data] if isinstance(data, Value) else [v for v in data or [] if v is not None]
        return tuple(found)

    def _lookup(self, node: fx.Node) -> object:
        return self._entries[node].data

    def _check_in_place(self, node: fx.Node) -> None:
        stored = aliasing.stored_target(node)
        if stored is self.layout.image:
            what = f"it writes to {stored.name}, the input itself, which the caller's images would change with"
            mend = f"let forward begin with `{stored.name} = {stored.name}.clone()`, or write out of place"
            raise UnsuitableProgram(self._where(node), what, mend)
        if stored is not None:
            what = f"it changes the stored tensor {stored.name}, so that the next call is another function"
            raise UnsuitableProgram(self._where(node), what, "call model.eval() before the export")
        reader = aliasing.later_reader(node)
        if reader is not None:
            what = f"it overwrites a tensor that {reader.name} reads afterwards"
            raise UnsuitableProgram(self._where(node), what, "write the operation out of place (inplace=False)")

    def _where(self, node: fx.Node) -> str:
        path = module_path(node, self.layout.owners)
        return f"node {node.name} ({node.target}), module {path or '(top)'}, {source_line(node)}"


_ADD = "express it through operations robspec knows, or add a rule file in robspec/lipschitz/rules/"


def _refused(error: RobspecError, inputs: tuple[Value, ...]) -> Step:
    axis = next((value.axis for value in inputs), None)
    return Step("refused", inputs, lambda _: float("inf"), axis, refusal=error)


def _bits(dtype: torch.dtype) -> int:
    return torch.finfo(dtype).bits if dtype.is_floating_point else 0


def _sized(entry: _Entry) -> bool:
    return entry.constant is not None and entry.constant.sized
