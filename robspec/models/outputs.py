"""The one output that is meant, of a program that returns several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from robspec.models import strict
from robspec.models.errors import ModelChoice

_MOST = 256


def chosen(module: dict[str, Any], output: str | None, where: str) -> dict[str, Any]:
    """Keep one output of a serialised module, and the nodes that it is computed from.

    Args:
        module: its graph, signature and calling structure, as the archive holds them.
        output: key of a dictionary or number in a tuple, from 0, joined by dots where they are nested; None for the
            only output.
        where: the record, for errors.

    Returns:
        The module with that output alone; as it was where nothing is chosen.

    Raises:
        ModelChoice: E0225, there are several and none is named, or there is none of that name.
    """
    graph = strict.mapping(module.get("graph"), where)
    signature = strict.mapping(module.get("signature"), where)
    results = strict.sequence(graph.get("outputs"), where, _MOST)
    ends = strict.sequence(signature.get("output_specs"), where, _MOST)
    returned = [i for i, end in enumerate(ends) if strict.union(end, where)[0] == "user_output"]
    if output is None and (len(returned) < 2 or len(results) != len(ends)):
        return module
    names = _names(module, where)
    if len(names) != len(returned):
        names = [str(i) for i in range(len(returned))]
    listed = ", ".join(ascii(name[:40])[1:-1] for name in names[:12]) or "one of no name"
    if output is None:
        raise ModelChoice(
            where,
            f"the model has {len(returned)} outputs: {listed}",
            f"name the logits: --output {names[0]} of `robspec import` and `export`, --model-output {names[0]} "
            "elsewhere; or export a module that returns the logits alone",
        )
    if names == [""]:
        raise ModelChoice(where, "the model returns one tensor", f"leave the name {output[:40]!r} out")
    if output not in names:
        raise ModelChoice(where, f"the model returns nothing called {output[:40]!r}", f"there is {listed}")
    kept = returned[names.index(output)]
    changes = [i for i in range(len(ends)) if i not in returned]
    return {
        **module,
        "graph": _needed({**graph, "outputs": [*(results[i] for i in changes), results[kept]]}, where),
        "signature": {**signature, "output_specs": [*(ends[i] for i in changes), ends[kept]]},
    }


def _names(module: dict[str, Any], where: str) -> list[str]:
    """Keys of all that is returned, in the order in which it is."""
    for entry in strict.sequence(module.get("module_call_graph"), where):
        fields = strict.mapping(entry, where)
        if fields.get("fqn") == "" and fields.get("signature") is not None:
            text = strict.plain(strict.mapping(fields["signature"], where).get("out_spec"), where)
            spec = strict.sequence(strict.parse(text.encode(), where), where)
            return list(_leaves(spec[-1] if spec else None, "", where, 0))
    return []


def _leaves(spec: Any, path: str, where: str, depth: int) -> Iterator[str]:
    fields = strict.mapping(spec, where)
    parts = strict.sequence(fields.get("children_spec"), where, _MOST)
    if fields.get("type") is None or depth > 16:
        yield path
        return
    context = fields.get("context")
    keys = None if context == "null" else strict.parse(strict.plain(context, where).encode(), where)
    named = keys if isinstance(keys, list) and len(keys) == len(parts) else list(range(len(parts)))
    for key, part in zip(named, parts, strict=True):
        yield from _leaves(part, f"{path}.{key}" if path else str(key), where, depth + 1)


def _needed(graph: dict[str, Any], where: str) -> dict[str, Any]:
    """Drop nodes that the outputs are not computed from; a graph that overwrites anything keeps all of them."""
    nodes = [strict.mapping(node, where) for node in strict.sequence(graph.get("nodes"), where, 200_000)]
    if any(_overwrites(node) for node in nodes):
        return graph
    wanted = set(_references(graph["outputs"]))
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(_references(node.get("outputs"))):
            kept.append(node)
            wanted.update(_references(node.get("inputs")))
    return {**graph, "nodes": kept[::-1]}


def _overwrites(node: dict[str, Any]) -> bool:
    name = str(node.get("target")).split(".")
    return len(name) > 1 and (name[-2].endswith("_") or "out" in name[-1])


def _references(value: Any) -> Iterator[str]:
    """Every name in an argument, of whatever kind."""
    queue = [value]
    while queue:
        item = queue.pop()
        if isinstance(item, dict):
            name = item.get("name", item.get("as_name"))
            if isinstance(name, str):
                yield name
            queue += item.values()
        elif isinstance(item, list):
            queue += item
        elif isinstance(item, str):
            yield item
