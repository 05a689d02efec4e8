"""Proves a model's Lipschitz constant from its exported graph."""

from __future__ import annotations

import math
import time
from functools import partial

from robspec.errors import RobspecError
from robspec.function.errors import NotFinite
from robspec.function.layout import module_path, source_line
from robspec.function.program import AnyProgram
from robspec.lipschitz import directed
from robspec.lipschitz.ahead import ahead
from robspec.lipschitz.derivation import Derivation, Row
from robspec.lipschitz.threads import threads_for
from robspec.lipschitz.values import Value
from robspec.lipschitz.walk import Walk
from robspec.semantics.norm import Norm


def prove(program: AnyProgram, *, input_norm: Norm, output_norm: Norm, workers: int = 1) -> Derivation:
    """Bound the constant of one image's logits: ||f(x) - f(x')||_q <= L ||x - x'||_p for every pair of
    images.

    Args:
        program: a loaded export with one image input and one output; only its batch may be dynamic.
        input_norm: p.
        output_norm: q.
        workers: how many threads find operator norms ahead; the bound is the same.

    Returns:
        The derivation; where p and q differ, both are tried as the walk's norm and the smaller bound is
        kept.

    Raises:
        NoGlobalConstant: some node the output depends on has no global constant.
        UnknownOperation: no rule for some node.
        UnsuitableProgram: not one function of one image.
        MixedBatch: images of a batch influence each other.
        NotFinite: weights, or the bound itself, are not finite.

    Source: MATH.md section 5.
    """
    start = time.perf_counter()
    walks = [input_norm] if input_norm == output_norm else [output_norm, input_norm]
    best: Derivation | None = None
    failure: RobspecError | None = None
    for norm in walks:
        try:
            with threads_for(0), ahead(partial(_rehearse, program, norm), workers):
                found = _walk(program, norm, input_norm, output_norm, start)
        except RobspecError as error:
            failure = failure or error
            continue
        if best is None or found.bound < best.bound:
            best = found
    if best is None:
        raise failure if failure is not None else RuntimeError("no walk was tried")
    if not math.isfinite(best.bound):
        raise NotFinite("the whole model", "the bound overflows float64", "look at the loosest node of the table")
    return best


def _rehearse(program: AnyProgram, norm: Norm) -> None:
    Walk(program, norm).run()


def _walk(program: AnyProgram, norm: Norm, p: Norm, q: Norm, start: float) -> Derivation:
    walk = Walk(program, norm)
    output = walk.run()
    root = walk.values[0]
    factor, text = _conversion(norm, p, q, math.prod(root.shape), math.prod(output.shape))
    rows = tuple(_row(walk, value, root) for value in walk.values if value is not root and value.evaluated)
    return Derivation(
        bound=directed.mul(factor, output.known[root]),
        input_norm=p,
        output_norm=q,
        walk_norm=norm,
        conversion=factor,
        conversion_text=text,
        rows=rows,
        folded=walk.folded,
        seconds=time.perf_counter() - start,
    )


def _row(walk: Walk, value: Value, root: Value) -> Row:
    running = value.known[root]
    view = value.step.view
    origins = value.step.inputs if view is None else (view.anchor,)
    before = max((origin.known[root] for origin in origins), default=1.0)
    members = (value.node.name,) if view is None else tuple(dict.fromkeys(view.members))
    by_name = walk.nodes
    paths = [module_path(by_name[name], walk.layout.owners) for name in reversed(members) if name in by_name]
    return Row(
        name=value.name,
        module=next((path for path in paths if path), ""),
        source=source_line(value.node),
        rule=value.step.rule if len(members) < 2 else _label(walk, members),
        bound=directed.div(running, before) if before > 0 else 0.0,
        running=running,
        members=members,
        apart=value.separate,
        seconds=max(0.0, value.seconds),
    )


def _label(walk: Walk, members: tuple[str, ...]) -> str:
    """Name a group by its operations, each once, in order."""
    nodes = [walk.nodes[name] for name in members if name in walk.nodes]
    names = [str(getattr(getattr(n.target, "overloadpacket", n.target), "__name__", n.op)) for n in nodes]
    return " + ".join(dict.fromkeys(names))


def _conversion(r: Norm, p: Norm, q: Norm, inputs: int, outputs: int) -> tuple[float, str]:
    """Bound the factor d^max(0, 1/r - 1/p) N^max(0, 1/q - 1/r) from a walk in l_r to l_p and l_q."""
    into = directed.inverse(r) - directed.inverse(p)
    out = directed.inverse(q) - directed.inverse(r)
    factor = 1.0
    parts = []
    if into > 0:
        piece = directed.power(float(inputs), into)
        factor = directed.mul(factor, piece)
        parts.append(f"{inputs}^({into}) = {piece:.6g} from {p} to {r} at the input")
    if out > 0:
        piece = directed.power(float(outputs), out)
        factor = directed.mul(factor, piece)
        parts.append(f"{outputs}^({out}) = {piece:.6g} from {r} to {q} at the output")
    return factor, "; ".join(parts)
