"""Weights as they lie on disk: both formats of torch.save, checkpoints, prefixes; none of it is unpickled."""

from __future__ import annotations

import argparse
import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robspec.errors import RobspecError
from robspec.models.architecture import load_weights, put_weights
from robspec.models.errors import (
    ArchitectureError,
    DamagedModel,
    InconsistentArchive,
    NotAModel,
    PickledModel,
    WhichWeights,
)
from robspec.models.loading import load
from robspec.models.pickles import UnsoundPickle, read_pickle
from tests.examples import examples

from .archives import Bomb, packed, records, small

FORMATS = [
    {},
    {"_use_new_zipfile_serialization": False},
    {"pickle_protocol": 4},
    {"pickle_protocol": 5, "_use_new_zipfile_serialization": False},
]


def saved(value: object, path: Path, **options: Any) -> Path:
    """A file of torch.save."""
    torch.save(value, path, **options)
    return path


def assorted() -> dict[str, torch.Tensor]:
    """Tensors of every element type and layout that a state_dict can have."""
    base = torch.arange(24, dtype=torch.float32)
    kinds = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16)
    return {
        "whole": base.reshape(2, 3, 4),
        "turned": base.reshape(4, 6).t(),
        "part": base[5:11],
        "strided": base[1::3],
        "repeated": torch.ones(1, dtype=torch.float64).expand(5),
        "number": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "flags": torch.tensor([True, False]),
        "double": torch.linspace(0, 1, 5, dtype=torch.float64),
        **{str(kind).removeprefix("torch."): torch.arange(3).to(kind) for kind in kinds},
    }


@pytest.mark.parametrize("options", FORMATS)
@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_every_tensor_is_read_as_torch_reads_it(tmp_path: Path, options: dict[str, Any], kind: type) -> None:
    path = saved(kind(assorted()), tmp_path / "w.pt", **options)
    theirs = torch.load(path, weights_only=False)
    ours, left = load_weights(path)
    assert list(ours) == list(theirs)
    assert left == []
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        assert torch.equal(ours[name], tensor)


@pytest.mark.parametrize("options", FORMATS)
def test_a_state_dict_with_parameters_and_versions(tmp_path: Path, options: dict[str, Any]) -> None:
    state = small().state_dict(keep_vars=True)
    ours, _ = load_weights(saved(state, tmp_path / "w.pt", **options))
    assert all(torch.equal(ours[name], tensor) for name, tensor in state.items())
    put_weights(small(), ours, "small")


def test_views_of_one_storage_stay_views(tmp_path: Path) -> None:
    base = torch.arange(6.0)
    for options in FORMATS:
        ours, _ = load_weights(saved({"a": base[:4], "b": base[2:]}, tmp_path / "w.pt", **options))
        assert ours["a"].untyped_storage().data_ptr() == ours["b"].untyped_storage().data_ptr()


def lightning(state: dict[str, torch.Tensor], **more: Any) -> dict[str, Any]:
    """What a training framework keeps."""
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": state,
        "callbacks": {"EarlyStopping{'monitor': 'loss'}": {"best": 0.5, "wait": 0}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3)}}}],
        "hyper_parameters": {"lr": 1e-3, "sides": (3, 8, 8), "names": ["a", None, b"b", True, 2**70]},
        **more,
    }


@pytest.mark.parametrize("options", FORMATS)
def test_a_checkpoint_lists_its_tables_and_key_chooses(tmp_path: Path, options: dict[str, Any]) -> None:
    state = small().state_dict()
    path = saved(lightning(state), tmp_path / "last.ckpt", **options)
    with pytest.raises(WhichWeights) as caught:
        load_weights(path)
    assert "'state_dict' with 9 tensors; 'optimizer_states.0.state.0' with 2 tensors" in caught.value.what
    assert "--key state_dict" in caught.value.mend
    ours, _ = load_weights(path, key="state_dict")
    assert list(ours) == list(state)
    inner, _ = load_weights(path, key="optimizer_states.0.state.0")
    assert set(inner) == {"step", "exp_avg"}
    for wrong in ("model", "epoch", "state", ""):
        with pytest.raises(WhichWeights, match=r"state_dict' with 9 tensors"):
            load_weights(path, key=wrong)


def test_check_tells_of_the_key_as_well(tmp_path: Path) -> None:
    path = saved(lightning(small().state_dict()), tmp_path / "last.ckpt")
    with pytest.raises(WhichWeights, match="--key state_dict") as caught:
        load(path, arch="torch.nn:Identity", input_shape=(3, 8, 8))
    assert "robspec export" in caught.value.mend


def test_settings_beside_the_weights_are_read_over(tmp_path: Path) -> None:
    import numpy as np

    settings_ = {"args": argparse.Namespace(lr=0.1), "root": Path("a"), "best": np.float64(0.5)}
    path = saved(lightning(small().state_dict(), **settings_), tmp_path / "last.ckpt")
    assert len(load_weights(path, key="state_dict")[0]) == 9


@pytest.mark.parametrize("options", FORMATS)
def test_other_objects_beside_the_weights_are_refused_by_name(
    tmp_path: Path, trace: Path, options: dict[str, Any]
) -> None:
    path = saved(lightning(small().state_dict(), hook=Bomb(trace)), tmp_path / "last.ckpt", **options)
    with pytest.raises(PickledModel) as caught:
        load_weights(path, key="state_dict")
    assert "posix.system" in caught.value.what
    assert "found['state_dict']" in caught.value.mend
    assert not trace.exists()


def test_a_module_of_the_old_format_is_refused_as_one(tmp_path: Path) -> None:
    path = saved(small(), tmp_path / "m.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(PickledModel, match="pickled object") as caught:
        load_weights(path)
    assert "torch.export.export(model" in caught.value.mend


def test_a_pickle_that_torch_did_not_save_says_how_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(small()))
    with pytest.raises(PickledModel, match="not written by torch") as caught:
        load_weights(path)
    assert 'pickle.load(open("model.pkl", "rb"))' in caught.value.mend
    assert "torch.load" not in caught.value.mend


def test_a_tar_of_torch_before_2017(tmp_path: Path) -> None:
    import tarfile

    path = tmp_path / "old.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    with pytest.raises(PickledModel, match="tar archive") as caught:
        load_weights(path)
    assert 'torch.load("old.tar"' in caught.value.mend


def test_arrays_of_numpy(tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "w.npz", weight=np.zeros(3))
    with pytest.raises(NotAModel, match="NumPy"):
        load_weights(tmp_path / "w.npz")


@pytest.mark.parametrize("more", [{"epoch": 3}, {"_extra_state": None}, {"net": small().state_dict()["last.bias"]}])
def test_a_table_that_is_not_of_tensors_alone(tmp_path: Path, more: dict[str, Any]) -> None:
    path = saved({**small().state_dict(), **more}, tmp_path / "w.pt")
    if isinstance(next(iter(more.values())), torch.Tensor):
        assert len(load_weights(path)[0]) == 10
        return
    with pytest.raises(WhichWeights, match=repr(next(iter(more)))) as caught:
        load_weights(path)
    assert "isinstance(v, torch.Tensor)" in caught.value.mend


@pytest.mark.parametrize("value", [torch.zeros(3), [], {}, "text", [torch.zeros(3)], {1: torch.zeros(3)}])
def test_no_table_at_all(tmp_path: Path, value: object) -> None:
    with pytest.raises(WhichWeights):
        load_weights(saved(value, tmp_path / "w.pt"))


PREFIXES = ["module.", "model.", "net.", "_orig_mod.", "backbone.", "module._orig_mod.", "model.backbone.net."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_is_named_and_can_be_stripped(tmp_path: Path, prefix: str) -> None:
    state = small().state_dict()
    path = saved({prefix + k: v for k, v in state.items()} | {"loss.weight": torch.ones(2)}, tmp_path / "w.pt")
    with pytest.raises(ArchitectureError) as caught:
        put_weights(small(), load_weights(path)[0], "small")
    assert f"--strip-prefix {prefix}" in caught.value.mend
    assert "the 1 weights without it" in caught.value.mend
    ours, left = load_weights(path, prefix=prefix)
    assert left == ["loss.weight"]
    put_weights(small(), ours, "small")
    with pytest.raises(WhichWeights, match=r"begins with 'elsewhere\.'; they are '.*first"):
        load_weights(path, prefix="elsewhere.")


def test_a_prefix_inside_the_names_and_one_of_the_network(tmp_path: Path) -> None:
    state = small().state_dict()
    inside = {k.replace(".", "._orig_mod.", 1): v for k, v in state.items()}
    with pytest.raises(ArchitectureError, match=r"_orig_mod.*inside"):
        put_weights(small(), inside, "small")
    with pytest.raises(ArchitectureError, match="inside the factory"):
        put_weights(nn.ModuleDict({"network": small()}), state, "wrapped")
    with pytest.raises(ArchitectureError, match="very architecture"):
        put_weights(nn.Linear(3, 2), state, "linear")


@pytest.mark.parametrize("options", FORMATS)
def test_truncated_files_are_damaged(tmp_path: Path, options: dict[str, Any]) -> None:
    path = saved(small().state_dict(), tmp_path / "w.pt", **options)
    blob = path.read_bytes()
    for cut in (len(blob) // 3, len(blob) - 9, len(blob) - 1):
        path.write_bytes(blob[:cut])
        with pytest.raises((DamagedModel, PickledModel)):
            load_weights(path)


def test_a_tensor_outside_its_storage(tmp_path: Path) -> None:
    path = saved({"a": torch.zeros(7)}, tmp_path / "w.pt")
    content = records(path.read_bytes())
    name = next(n for n in content if n.endswith("data.pkl"))
    assert content[name].count(b"K\x07") == 2
    for place in range(2):
        parts = content[name].split(b"K\x07")
        parts[place] += b"K\x63" + parts.pop(place + 1)
        path.write_bytes(packed({**content, name: b"K\x07".join(parts)}))
        with pytest.raises(InconsistentArchive):
            load_weights(path)


@given(st.binary(max_size=200))
@settings(max_examples=examples(300), deadline=None)
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for blob in (body, b"\x80\x02" + body + b".", pickle.dumps(body) + body):
        try:
            read_pickle(blob)
        except UnsoundPickle:
            continue


@given(st.integers(0, 5000), st.integers(0, 255))
@settings(max_examples=examples(200), deadline=None)
def test_any_change_of_an_old_file_is_read_or_refused(place: int, value: int) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(9.0)}, buffer, _use_new_zipfile_serialization=False)
    blob = bytearray(buffer.getvalue())
    blob[place % len(blob)] = value
    from robspec.models.architecture import read_weights
    from robspec.models.inspect import recognise

    try:
        read_weights(bytes(blob), recognise(bytes(blob), "w.pt"), "w.pt")
    except RobspecError:
        return


def test_deep_nesting_is_no_trap() -> None:
    assert read_pickle(b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".").end
    tuples = b"\x80\x02)" + b"\x85" * 200_000
    assert isinstance(read_pickle(b"\x80\x02}" + tuples[2:] + b"Ns.").value, dict)
    with pytest.raises(UnsoundPickle):
        read_pickle(b"\x80\x02" + b"N0" * 4_000_001 + b".")
