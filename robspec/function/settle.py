"""Turns an exported program into the one function that is proved, run, attacked and rechecked."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.export.graph_signature import InputKind, InputSpec, OutputSpec, TensorArgument

from robspec.function import aliasing, literals, nodes
from robspec.function.errors import UnsuitableProgram
from robspec.function.layout import Layout, read, where
from robspec.function.program import AnyProgram, Declared, GraphProgram

_SETTLED = "robspec_settled"
_LOST = "robspec_lost_parameters"
_CPU = torch.device("cpu")


def settle(program: AnyProgram) -> GraphProgram:
    """Fold what does not depend on the image, once, in the file's own element types.

    The result computes the same logits, bit by bit, in the file's own type: constants are what the file's own
    operations give on the CPU, and a tensor that meets data has been cast to the type in which the graph computes. So
    the same constants are meant wherever the rest is computed more precisely; numbers are rounded by the runner.

    Args:
        program: an exported program of one image input; it is not changed.

    Returns:
        A program of the image, stored and folded constants, sizes and operations on data; itself where it is settled
        already.

    Raises:
        UnsuitableProgram: E0503, no function of one image, a constant drawn at random, or memory that is overwritten
            while others read it.
        NotFinite: E0505, a stored weight is not finite.

    Source: docs/explanation/lipschitz.md, "the same function".
    """
    if isinstance(program, GraphProgram) and _SETTLED in program.graph_module.meta:
        return program
    return _Settling(program).run()


def folded(program: AnyProgram) -> int:
    """Count the operations on constants that were evaluated when a program was settled."""
    return int(program.graph_module.meta.get(_SETTLED, 0))


def lost_parameters(program: AnyProgram) -> tuple[str, ...]:
    """Name the parameters of which a settled program holds only what was computed from them."""
    found: tuple[str, ...] = program.graph_module.meta.get(_LOST, ())
    return found


class _Settling:
    """One pass over a graph that writes the settled one."""

    def __init__(self, program: AnyProgram) -> None:
        self._program = program
        self._layout: Layout = read(program)
        self._kinds = nodes.kinds(program.graph, self._layout.image)
        self._specs = {s.arg.name: s for s in program.graph_signature.input_specs if hasattr(s.arg, "name")}
        self._lost: set[str] = set()
        self._names = {node.name for node in program.graph.nodes}
        self._constants: dict[fx.Node, Any] = {}
        self._graph = fx.Graph()
        self._written: dict[fx.Node, fx.Node] = {}
        self._stored: dict[tuple[object, ...], fx.Node] = {}
        self._inputs: list[InputSpec] = []
        self._outputs: list[OutputSpec] = []
        self._evaluated = 0
        self._folded: dict[str, torch.Tensor] = {}
        self._last: fx.Node | None = None

    def run(self) -> GraphProgram:
        layout = self._layout
        self._place(layout.image, self._specs[layout.image.name])
        with torch.no_grad():
            for node in self._program.graph.nodes:
                if node is layout.image or node.op == "output":
                    continue
                kind = self._kinds[node]
                if node.op == "call_function":
                    _check_in_place(node, kind, self._layout)
                if kind == "constant":
                    self._fold(node)
                elif not nodes.is_check(node):
                    self._copy(node, kind)
        output = self._written.get(layout.output)
        if output is None or self._kinds[layout.output] != "data":
            what = "the output does not depend on the image"
            raise UnsuitableProgram(layout.output.name, what, "return the logits computed from the image")
        ends = self._program.graph_signature.output_specs
        self._outputs = [OutputSpec(s.kind, TensorArgument(output.name), s.target) for s in ends]
        closing = self._graph.output((output,))
        closing.meta.update(next(n for n in self._program.graph.nodes if n.op == "output").meta)
        return self._rebuilt()

    def _rebuilt(self) -> GraphProgram:
        old = self._program
        module = fx.GraphModule(torch.nn.Module(), self._graph)
        module.meta[_SETTLED] = self._evaluated
        module.meta[_LOST] = tuple(sorted(self._lost))
        signature = old.graph_signature
        names = {spec.target for spec in self._inputs}
        identity = old.identity if isinstance(old, GraphProgram) else None
        return GraphProgram(
            graph_module=module,
            graph_signature=type(signature)(self._inputs, self._outputs),
            state_dict={k: v for k, v in old.state_dict.items() if k in names},
            constants={**{k: v for k, v in old.constants.items() if k in names}, **self._folded},
            identity=None if identity is None else f"settled {identity}",
        )

    def _fold(self, node: fx.Node) -> None:
        """Evaluate a node of constants with the operation and the element types the file states."""
        if node.op == "placeholder":
            self._constants[node] = self._layout.constants[node.name]
            if any(self._kinds[user] == "constant" and not nodes.is_check(user) for user in node.users):
                self._lose(node)
            return
        if node.op == "get_attr":
            self._constants[node] = operator.attrgetter(str(node.target))(self._program.graph_module)
            return
        if nodes.is_check(node):
            return
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise UnsuitableProgram(
                where(node, self._layout), "a constant is drawn at random on every call", "fix the draw"
            )
        self._evaluated += 1
        function: Callable[..., Any] = node.target  # type: ignore[assignment]
        missing = [source.name for source in node.all_input_nodes if source not in self._constants]
        if missing:
            what = f"the node reads {missing[0]}, a check that returns nothing"
            raise UnsuitableProgram(where(node, self._layout), what, "export the model again")
        args = fx.node.map_aggregate(fx.map_arg(node.args, self._constants.__getitem__), _on_cpu)
        keywords = fx.node.map_aggregate(fx.map_arg(node.kwargs, self._constants.__getitem__), _on_cpu)
        self._constants[node] = function(*args, **keywords)

    def _copy(self, node: fx.Node, kind: str) -> None:
        """Write a node of data or of sizes, its constants stored and rounded to what it computes with."""
        dtype = literals.computed_in(node) if kind == "data" or nodes.operation(node) in nodes.CARRIERS else None
        mutated = set(aliasing.mutated_inputs(node))
        names = [name for name, _, _ in nodes.arguments(node)]

        def place(name: str, item: object) -> object:
            if isinstance(item, list | tuple):
                return type(item)(place(name, part) for part in item)
            if isinstance(item, fx.Node) and self._kinds[item] != "constant":
                return self._written[item]
            value = self._constants[item] if isinstance(item, fx.Node) else item
            if isinstance(value, torch.Tensor):
                cast = dtype if dtype is not None and literals.casts(node, name) else None
                source = item if isinstance(item, fx.Node) else None
                stored = self._store(source, value, cast)
                return self._fresh(stored) if item in mutated else stored
            if isinstance(item, fx.Node) and isinstance(value, list | tuple):
                return type(value)(place(name, part) for part in value)
            return value

        args = tuple(place(name, item) for name, item in zip(names, node.args, strict=False))
        keywords = {name: place(name, item) for name, item in node.kwargs.items()}
        if nodes.operation(node) in nodes.CARRIERS and dtype is not None:
            keywords["dtype"] = dtype
        target: Any = node.target
        copied = self._graph.create_node("call_function", target, args, keywords, node.name)  # type: ignore[arg-type]
        copied.meta.update(node.meta)
        self._written[node] = copied

    def _fresh(self, stored: fx.Node) -> fx.Node:
        """Copy a constant that the next node overwrites, so that every call starts from the same one."""
        copy = self._graph.call_function(torch.ops.aten.clone.default, (stored,))
        copy.meta["val"] = stored.meta["val"]
        return copy

    def _store(self, source: fx.Node | None, value: torch.Tensor, cast: torch.dtype | None) -> fx.Node:
        """Give a constant a placeholder: a stored weight keeps its own, a folded one gets a new one.

        Constants may be overwritten by later constant operations: what is read is what they hold here.
        """
        held = value if cast is None else literals.rounded_tensor(value, cast)
        own = source is not None and source.op == "placeholder" and source.name in self._specs
        key = (id(value) if source is None else source, value._version, held.dtype)
        if key not in self._stored:
            if own and source is not None and held.dtype == value.dtype:
                self._stored[key] = self._place(source, self._specs[source.name])
            else:
                if own and source is not None:
                    self._lose(source)
                self._stored[key] = self._place_folded(source, held)
        return self._stored[key]

    def _lose(self, node: fx.Node) -> None:
        """Remember a parameter that a constant of the settled program was computed from."""
        spec = self._specs.get(node.name)
        if spec is not None and spec.kind is InputKind.PARAMETER:
            self._lost.add(str(spec.target))

    def _place(self, node: fx.Node, spec: InputSpec) -> fx.Node:
        placed = self._placeholder(node.name)
        placed.meta.update(node.meta)
        self._inputs.append(InputSpec(spec.kind, TensorArgument(placed.name), spec.target, spec.persistent))
        if node is self._layout.image:
            self._written[node] = placed
        return placed

    def _place_folded(self, source: fx.Node | None, value: torch.Tensor) -> fx.Node:
        name = f"folded_{len(self._folded)}_{source.name if source is not None else 'number'}"
        while name in self._names:
            name += "_"
        placed = self._placeholder(name)
        # With its memory layout, on which the kernel that is chosen, and so the last bit, may depend.
        kept = value.detach().clone()
        placed.meta["val"] = Declared(kept.dtype, tuple(kept.shape))
        placed.meta["folded"], placed.meta["leaves"] = source, self._layout.constants
        target = f"folded.{placed.name}"
        while target in self._program.state_dict or target in self._program.constants:
            target += "_"
        self._folded[target] = kept
        self._inputs.append(InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(placed.name), target, None))
        return placed

    def _placeholder(self, name: str) -> fx.Node:
        """Add a placeholder behind the ones there are: torch wants them all in front, in the signature's order."""
        before = self._last.next if self._last is not None else next(iter(self._graph.nodes), None)
        with self._graph.inserting_before(before):
            self._last = self._graph.placeholder(name)
        # As torch.export does it: a name that Python uses too, such as input, is kept.
        self._last.name = self._last.target = name
        return self._last


def _on_cpu(item: Any) -> Any:
    return _CPU if isinstance(item, torch.device) else item


def _check_in_place(node: fx.Node, kind: str, layout: Layout) -> None:
    """Refuse an in-place operation unless it can be read as one that is not."""
    if kind == "constant" and aliasing.stored_target(node) is None:
        return
    stored = aliasing.stored_target(node)
    if stored is layout.image:
        what = f"it changes its input, the image {stored.name}"
        raise UnsuitableProgram(where(node, layout), what, "work on a copy, x.clone(), or out of place")
    if stored is not None:
        what = f"it changes the stored tensor {stored.name}, so that the next call is another function"
        raise UnsuitableProgram(where(node, layout), what, "call model.eval() before the export")
    reader = aliasing.later_reader(node)
    if reader is not None:
        what = f"it overwrites a tensor that {reader.name} reads afterwards"
        raise UnsuitableProgram(where(node, layout), what, "write the operation out of place (inplace=False)")
