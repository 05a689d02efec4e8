"""Hostile model files: each is refused with a RobspecError, and nothing in it ran."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import textwrap
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from robspec.errors import RobspecError
from robspec.models.architecture import load_weights
from robspec.models.errors import (
    DamagedModel,
    InconsistentArchive,
    ModelInterface,
    ModelNotFound,
    ModelTooLarge,
    NotAModel,
    PickledModel,
    TorchScriptModel,
    UnknownOperator,
    UnsafeArchive,
)
from robspec.models.loading import load

from .archives import Bomb, changed, packed, records, small

MODEL = "models/model.json"
WEIGHTS = "model_weights_config.json"
CONSTANTS = "model_constants_config.json"
EVIL = "__import__('os').system('touch {trace}')"


def refused(blob: bytes, tmp_path: Path, kind: type[RobspecError]) -> RobspecError:
    """Load bytes as a file, and demand a refusal of one kind."""
    path = tmp_path / "model.pt2"
    path.write_bytes(blob)
    with pytest.raises(kind) as caught:
        load(path)
    assert caught.value.mend
    return caught.value


def saved(value: object, **options: Any) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def test_the_bomb_works_when_it_is_unpickled(trace: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(trace)))
    assert trace.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_bare_pickle(tmp_path: Path, trace: Path, protocol: int) -> None:
    refused(pickle.dumps(Bomb(trace), protocol=protocol), tmp_path, PickledModel)
    assert not trace.exists()


def test_pickle_of_protocol_0_has_no_magic_and_is_no_model(tmp_path: Path, trace: Path) -> None:
    refused(pickle.dumps(Bomb(trace), protocol=0), tmp_path, NotAModel)
    assert not trace.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_module(tmp_path: Path, trace: Path, zipped: bool) -> None:
    module = small()
    module.bomb = Bomb(trace)
    error = refused(saved(module, _use_new_zipfile_serialization=zipped), tmp_path, PickledModel)
    assert "torch.export.export(model" in error.mend
    assert not trace.exists()


def test_the_recipe_for_a_pickled_module_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed, but for the shape its reader puts in."""
    monkeypatch.chdir(tmp_path)
    Path("whole.pt").write_bytes(saved(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Dropout())))
    with pytest.raises(PickledModel) as caught:
        load(Path("whole.pt"))
    recipe = textwrap.dedent(caught.value.mend.partition("\n")[2])
    Path("recipe.py").write_text(recipe.replace("(2, C, H, W)", "(2, 3, 8, 8)"))
    command = [sys.executable, "recipe.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert load(Path("model.pt2")).input_shape == (3, 8, 8)


@pytest.mark.parametrize("zipped", [True, False])
def test_bomb_in_a_state_dict(tmp_path: Path, trace: Path, zipped: bool) -> None:
    weights = {**small().state_dict(), "extra": Bomb(trace)}
    path = tmp_path / "weights.pt"
    path.write_bytes(saved(weights, _use_new_zipfile_serialization=zipped))
    with pytest.raises(PickledModel):
        load_weights(path)
    with pytest.raises(PickledModel):
        load(path, arch="nowhere:build", input_shape=(3, 8, 8))
    assert not trace.exists()


def test_stack_global_hides_no_name(tmp_path: Path, trace: Path) -> None:
    content = {"archive/data.pkl": pickle.dumps(Bomb(trace), protocol=4), "archive/version": b"3"}
    refused(packed(content), tmp_path, PickledModel)
    assert not trace.exists()


def test_torchscript(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(small(), torch.zeros(2, 3, 8, 8)), buffer)
    error = refused(buffer.getvalue(), tmp_path, TorchScriptModel)
    assert "robspec export" in error.mend
    assert "--input C,H,W" in error.mend


def test_pickled_weights_and_constants(archive: bytes, tmp_path: Path, trace: Path) -> None:
    """_load_state_dict and _load_constants call torch.load(weights_only=False) on such an entry."""
    content = records(archive)
    weight = next(n for n in content if n.endswith("weights/weight_0"))
    content[weight] = saved(Bomb(trace))

    def mark(config: Any) -> None:
        next(iter(config["config"].values()))["use_pickle"] = True

    refused(changed(packed(content), WEIGHTS, mark), tmp_path, UnsafeArchive)

    content = records(archive)
    folder = weight.replace("weights/weight_0", "constants/")
    content[folder + "tensor_0"] = saved(Bomb(trace))
    entry = {"path_name": "tensor_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    refused(changed(packed(content), CONSTANTS, lambda c: c["config"].update(c=entry)), tmp_path, UnsafeArchive)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["custom_obj_0", "opaque_obj_0"])
def test_custom_objects(archive: bytes, tmp_path: Path, trace: Path, name: str) -> None:
    """_load_constants hands custom objects to _pickle_load_obj, opaque ones to pickle.loads."""
    entry = {"path_name": name, "is_param": False, "use_pickle": True, "tensor_meta": None}
    refused(changed(archive, CONSTANTS, lambda c: c["config"].update(c=entry)), tmp_path, UnsafeArchive)
    content = records(archive)
    content[f"archive/data/constants/{name}"] = pickle.dumps(Bomb(trace))
    refused(packed(content), tmp_path, UnsafeArchive)
    assert not trace.exists()


@pytest.mark.parametrize("place", ["data/weights/model.pt", "data/constants/model.pt"])
def test_legacy_tensors_inside_an_archive(archive: bytes, tmp_path: Path, trace: Path, place: str) -> None:
    """A record of this name makes _load_state_dict return bytes that are later unpickled."""
    content = {**records(archive), f"archive/{place}": saved(Bomb(trace))}
    refused(packed(content), tmp_path, UnsafeArchive)
    assert not trace.exists()


def test_legacy_archive(tmp_path: Path, trace: Path) -> None:
    content = {
        "a/version": b"8.20",
        "a/serialized_exported_program.json": b"{}",
        "a/serialized_state_dict.pt": saved(Bomb(trace)),
        "a/serialized_constants.pt": saved(Bomb(trace)),
        "a/serialized_example_inputs.pt": saved(Bomb(trace)),
    }
    refused(packed(content), tmp_path, PickledModel)
    refused(packed({k[2:]: v for k, v in content.items()}), tmp_path, PickledModel)
    assert not trace.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_bomb_in_the_sample_inputs(archive: bytes, tmp_path: Path, trace: Path, zipped: bool) -> None:
    """deserialize_torch_artifact falls back to torch.load(weights_only=False)."""
    content = records(archive)
    name = next(n for n in content if n.endswith("sample_inputs/model.pt"))
    content[name] = saved((Bomb(trace),), _use_new_zipfile_serialization=zipped)
    refused(packed(content), tmp_path, UnsafeArchive)
    content[name] = pickle.dumps(Bomb(trace))
    refused(packed(content), tmp_path, UnsafeArchive)
    assert not trace.exists()


def test_compiled_library(archive: bytes, tmp_path: Path) -> None:
    """load_pt2 extracts and opens shared libraries found under data/aotinductor."""
    content = {**records(archive), "archive/data/aotinductor/model/x.so": b"\x7fELF"}
    refused(packed(content), tmp_path, UnsafeArchive)


EXPRESSIONS = [
    EVIL,
    "Symbol('s31', positive=True, integer=True) + " + EVIL,
    "Symbol('s31', positive=True, integer=" + EVIL + ")",
    "Symbol(" + EVIL + ")",
    "Mul(Integer(2), " + EVIL + ")",
    "lambda: 0",
    "s31.__class__",
    "Pow(Integer(9), Pow(Integer(9), Integer(99)))",
    "9**9**9**9",
    "Add(" * 200 + "1" + ")" * 200,
    "1" * 10_000,
    "Integer('1')",
    "[x for x in ()]",
    "",
]


def size_slots(program: Any) -> list[Any]:
    """Every place of a program that holds a symbolic size."""
    values = program["graph_module"]["graph"]["tensor_values"].values()
    return [s for v in values for part in ("sizes", "strides") for s in v[part] if "as_expr" in s]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_symbolic_expressions(archive: bytes, tmp_path: Path, trace: Path, text: str) -> None:
    """_parse_sym_expr calls sympy.sympify, which evaluates its text as Python."""

    def change(program: Any) -> None:
        slots = size_slots(program)
        assert slots
        slots[-1]["as_expr"]["expr_str"] = text.format(trace=trace)

    refused(changed(archive, MODEL, change), tmp_path, UnsafeArchive)

    def offset(config: Any) -> None:
        meta = next(iter(config["config"].values()))["tensor_meta"]
        meta["storage_offset"] = {"as_expr": {"expr_str": text.format(trace=trace), "hint": None}}

    refused(changed(archive, WEIGHTS, offset), tmp_path, UnsafeArchive)
    assert not trace.exists()


def test_sympify_would_have_run_the_expression(trace: Path) -> None:
    import sympy

    with pytest.raises(Exception):  # noqa: B017, PT011  (whatever sympy makes of the result)
        sympy.sympify(EVIL.format(trace=trace)).is_Integer  # noqa: B018
    assert trace.exists()


def set_(*path: Any, value: Any) -> Callable[[Any], None]:
    """A change of one value deep inside parsed JSON."""

    def change(parsed: Any) -> None:
        for key in path[:-1]:
            parsed = parsed[key]
        parsed[path[-1]] = value

    return change


GRAPH = ("graph_module", "graph")
NODE = (*GRAPH, "nodes", 0)
ROOT_CALL = ("graph_module", "module_call_graph", 0, "signature")
DEFAULT_DICT = json.dumps(
    [
        1,
        {
            "type": "collections.defaultdict",
            "context": json.dumps({"default_factory_module": "antigravity", "default_factory_name": "x"}),
            "children_spec": [],
        },
    ]
)
ENUM = json.dumps(
    [
        1,
        {
            "type": "builtins.dict",
            "context": json.dumps([{"__enum__": True, "fqn": "antigravity.fly", "name": "x"}]),
            "children_spec": [],
        },
    ]
)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (set_(*ROOT_CALL, "in_spec", value=DEFAULT_DICT), UnsafeArchive),
        (set_(*ROOT_CALL, "out_spec", value=ENUM), UnsafeArchive),
        (set_(*ROOT_CALL, "in_spec", value="not json"), InconsistentArchive),
        (set_("range_constraints", value={EVIL: {"min_val": 1, "max_val": 2}}), UnsafeArchive),
        (set_(*NODE, "target", value="torch.ops.aten.from_file.default"), UnknownOperator),
        (set_(*NODE, "target", value="torch.load"), UnknownOperator),
        (set_(*NODE, "target", value="torch.hub.load"), UnknownOperator),
        (set_(*NODE, "target", value="_operator.attrgetter"), UnknownOperator),
        (set_(*NODE, "target", value="_operator.pow"), UnknownOperator),
        (set_(*NODE, "target", value="math.trunc"), UnknownOperator),
        (set_(*NODE, "target", value="#evil:os.system"), UnknownOperator),
        (set_(*NODE, "target", value="torch.ops.higher_order.cond"), UnknownOperator),
        (set_(*NODE, "target", value="torch.ops.aten.rand_like.default"), UnknownOperator),
        (set_(*NODE, "target", value="torch.ops.aten.empty_like.default"), UnknownOperator),
        (set_(*NODE, "target", value="torch.ops.aten.add.out"), UnknownOperator),
        (set_(*NODE, "name", value="x):\n    import os\n#"), UnsafeArchive),
        (set_(*NODE, "name", value="torch"), UnsafeArchive),
        (set_(*NODE, "name", value="class"), UnsafeArchive),
        (set_(*NODE, "outputs", 0, "as_tensor", "name", value="a=print(1)"), UnsafeArchive),
        (set_(*NODE, "inputs", 0, "name", value="x=1,**{}"), UnsafeArchive),
        (set_(*NODE, "inputs", 0, "arg", value={"as_operator": "torch.load"}), UnsafeArchive),
        (
            set_(*NODE, "inputs", 0, "arg", value={"as_custom_obj": {"name": "x", "class_fqn": "y"}}),
            UnsafeArchive,
        ),
        (set_(*NODE, "inputs", 0, "arg", value={"as_graph": {"name": "x", "graph": {}}}), UnsafeArchive),
        (set_(*NODE, "inputs", 0, "arg", value={"as_string": "a\nb"}), InconsistentArchive),
        (set_(*GRAPH, "inputs", 0, value={"as_tensor": {"name": "a, b=__import__('os')"}}), UnsafeArchive),
        (set_(*GRAPH, "custom_obj_values", value={"a": {"name": "a", "class_fqn": "b"}}), UnsafeArchive),
        (set_(*GRAPH, "sym_bool_values", value={"a": {"as_expr": {"expr_str": EVIL}}}), UnsafeArchive),
        (set_("verifiers", value=["EVIL"]), InconsistentArchive),
        (set_("schema_version", value={"major": 99, "minor": 0}), InconsistentArchive),
        (set_("graph_module", value=[]), InconsistentArchive),
        (set_(*GRAPH, "nodes", value=[]), InconsistentArchive),
        (set_(*GRAPH, "outputs", value=[]), ModelInterface),
    ],
)
def test_programs(archive: bytes, tmp_path: Path, change: Any, kind: type[RobspecError]) -> None:
    refused(changed(archive, MODEL, change), tmp_path, kind)


def test_custom_metadata_is_left_behind(archive: bytes, tmp_path: Path, trace: Path) -> None:
    """deserialize_metadata looks names up in torch."""

    def change(program: Any) -> None:
        program["graph_module"]["metadata"] = {"custom": EVIL.format(trace=trace)}
        for node in program["graph_module"]["graph"]["nodes"]:
            node["metadata"]["source_fn_stack"] = "a,torch.hub.load"

    path = tmp_path / "model.pt2"
    path.write_bytes(changed(archive, MODEL, change))
    model = load(path)
    model.logits(torch.zeros(1, 3, 8, 8))
    assert all("source_fn_stack" not in node.meta for node in model.program.graph.nodes)
    assert not trace.exists()


def test_false_shapes_are_found(archive: bytes, tmp_path: Path) -> None:
    """A Lipschitz proof reads the declared sizes, so a false one must not get that far."""

    def shrink(program: Any) -> None:
        graph = program["graph_module"]["graph"]
        name = graph["nodes"][0]["outputs"][0]["as_tensor"]["name"]
        graph["tensor_values"][name]["sizes"][2] = {"as_int": 4}

    error = refused(changed(archive, MODEL, shrink), tmp_path, InconsistentArchive)
    assert "computing it gives" in error.what


def batch_arithmetic(operator: str, number: int) -> Callable[[Any], None]:
    """Make the program compute `operator(batch size, number)` and use it for nothing."""

    def change(program: Any) -> None:
        graph = program["graph_module"]["graph"]
        image = program["graph_module"]["signature"]["input_specs"][-1]["user_input"]["arg"]["as_tensor"]["name"]
        size = {"name": "size", "inputs": [], "metadata": {}, "target": "torch.ops.aten.sym_size.int"}
        size["inputs"] = [
            {"name": "self", "arg": {"as_tensor": {"name": image}}, "kind": 1},
            {"name": "dim", "arg": {"as_int": 0}, "kind": 1},
        ]
        size["outputs"] = [{"as_sym_int": {"as_name": "size"}}]
        result = {"name": "result", "metadata": {}, "target": f"_operator.{operator}"}
        result["inputs"] = [
            {"name": "a", "arg": {"as_sym_int": {"as_name": "size"}}, "kind": 1},
            {"name": "b", "arg": {"as_int": number}, "kind": 1},
        ]
        result["outputs"] = [{"as_sym_int": {"as_name": "result"}}]
        slots = size_slots(program)
        graph["sym_int_values"] = {"size": slots[-1], "result": slots[-1]}
        graph["nodes"][:0] = [size, result]

    return change


def test_arithmetic_on_sizes(archive: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(changed(archive, MODEL, batch_arithmetic("mul", 3)))
    load(path).logits(torch.zeros(3, 3, 8, 8))
    refused(changed(archive, MODEL, batch_arithmetic("floordiv", 0)), tmp_path, InconsistentArchive)


@pytest.mark.parametrize(
    "meta",
    [
        {"sizes": [{"as_int": 1 << 20}], "strides": [{"as_int": 1}]},
        {"sizes": [{"as_int": 2}], "strides": [{"as_int": 1 << 30}]},
        {"sizes": [{"as_int": 1}], "strides": [{"as_int": 1}], "storage_offset": {"as_int": 1 << 30}},
        {"sizes": [{"as_int": 2}], "strides": [{"as_int": -1}]},
        {"sizes": [{"as_int": 2}], "strides": []},
        {"dtype": 99},
        {"layout": 1},
        {"device": {"type": "meta"}},
    ],
)
def test_tensors_outside_their_bytes(archive: bytes, tmp_path: Path, meta: dict[str, Any]) -> None:
    def change(config: Any) -> None:
        next(iter(config["config"].values()))["tensor_meta"].update(meta)

    refused(changed(archive, WEIGHTS, change), tmp_path, InconsistentArchive)


def test_absurdly_many_values(archive: bytes, tmp_path: Path) -> None:
    def repeated(config: Any) -> None:
        meta = next(iter(config["config"].values()))["tensor_meta"]
        meta.update(sizes=[{"as_int": 1 << 36}], strides=[{"as_int": 0}])

    refused(changed(archive, WEIGHTS, repeated), tmp_path, ModelTooLarge)

    def grow(program: Any) -> None:
        nodes = program["graph_module"]["graph"]["nodes"]
        last = nodes[-1]
        last["target"] = "torch.ops.aten.repeat.default"
        last["inputs"] = [
            {**last["inputs"][0], "name": "self"},
            {"name": "repeats", "arg": {"as_ints": [1, 1, 100_000, 100_000]}, "kind": 1},
        ]

    refused(changed(archive, MODEL, grow), tmp_path, ModelTooLarge)


def test_zip_traps(archive: bytes, tmp_path: Path) -> None:
    content = records(archive)
    refused(packed(content, zipfile.ZIP_DEFLATED), tmp_path, UnsafeArchive)
    refused(packed({**content, "archive/../../x": b""}), tmp_path, UnsafeArchive)
    refused(packed({**content, "archive//x": b""}), tmp_path, UnsafeArchive)
    refused(packed({**content, "other/x": b""}), tmp_path, InconsistentArchive)
    refused(packed({**content, "archive/models/second.json": b"{}"}), tmp_path, InconsistentArchive)
    refused(packed({**content, "archive/anything": b""}), tmp_path, UnsafeArchive)
    buffer = io.BytesIO(archive)
    with zipfile.ZipFile(buffer, "a") as twice, pytest.warns(UserWarning, match="Duplicate"):
        twice.writestr("archive/models/model.json", b"{}")
    refused(buffer.getvalue(), tmp_path, UnsafeArchive)


def test_deep_json(archive: bytes, tmp_path: Path) -> None:
    content = records(archive)
    name = next(n for n in content if n.endswith(MODEL))
    content[name] = b"[" * 200_000
    refused(packed(content), tmp_path, InconsistentArchive)
    content[name] = b'{"a":' + b"9" * 100_000 + b"}"
    refused(packed(content), tmp_path, InconsistentArchive)


@pytest.mark.parametrize("keep", [5, 100, 3000, -1, -30])
def test_truncated(archive: bytes, tmp_path: Path, keep: int) -> None:
    refused(archive[:keep], tmp_path, DamagedModel)


def test_flipped_bytes_never_escape_as_another_error(archive: bytes, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    path = tmp_path / "model.pt2"
    for _ in range(150):
        blob = bytearray(archive)
        for at in torch.randint(len(blob), (4,), generator=generator).tolist():
            blob[at] ^= 1 << int(torch.randint(8, (1,), generator=generator))
        path.write_bytes(bytes(blob))
        try:
            load(path)
        except RobspecError:
            continue


@pytest.mark.parametrize(
    "blob", [b"", b"hello, this is text\n", "texte accentué".encode(), b"\x7fELF\0\0\0", packed({"a/b": b""})]
)
def test_not_a_model(tmp_path: Path, blob: bytes) -> None:
    refused(blob, tmp_path, NotAModel)


def test_missing_and_directory(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.pt2"):
        with pytest.raises(ModelNotFound):
            load(path)
