"""A first specification is accepted as it is, and `doctor` says what there is."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import robspec as package
from robspec import extras
from robspec.errors import MissingExtra
from robspec.lower import compile_text
from tests.cli.conftest import Brightness, Project, Run, export

PICTURE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
MASK = np.tri(8, dtype=np.uint8)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_what_init_writes_is_checked(robspec: Run, project: Project) -> None:
    done = robspec("init", project.model, project.root, "--output", project.root / "first.rspec")
    assert done.status == 0, done.err
    text = (project.root / "first.rspec").read_text()
    assert '"images/*.png"' in text.replace("./", "")
    assert "# " in text
    checked = robspec("check", project.model, project.root / "first.rspec")
    assert checked.status in (0, 1, 3), checked.err
    assert "accuracy" in checked.out
    again = robspec("init", project.model, project.root, "--output", project.root / "first.rspec")
    assert again.status == 2
    assert "E0602" in again.err


def test_one_of_several_outputs_is_named(robspec: Run, project: Project) -> None:
    """As torchvision's networks return them; the command that is told then takes the same."""

    class Two(nn.Module):
        def forward(self, image: Tensor) -> dict[str, Tensor]:
            logits = Brightness()(image)
            return {"out": logits, "aux": logits[:, :1]}

    model, path = project.root / "two.pt2", project.root / "first.rspec"
    free = {0: torch.export.Dim("batch", min=1, max=8)}
    torch.export.save(torch.export.export(Two(), (torch.rand(2, 3, 8, 8),), dynamic_shapes=(free,)), model)
    refused = robspec("init", model, project.root, "--output", path)
    assert (refused.status, "--model-output out" in refused.err) == (2, True)
    done = robspec("init", model, project.root, "--output", path, "--model-output", "out")
    assert done.status == 0, done.err
    assert f"robspec check {model} {path} --model-output out" in done.out
    assert robspec("check", model, path, "--model-output", "out").status in (0, 1, 3)


@pytest.mark.parametrize(
    ("images", "masks", "mask", "expected"),
    [
        ("train/a.jpg", "train_masks/a_mask.gif", MASK, "layout carvana"),
        ("images/a.png", "masks/a.png", MASK * 255, "binary"),
        ("img/a.png", "gt/a_gt.png", MASK + 254 * (MASK == 0), "ignore 254"),
        ("val/images/a.png", "val/labels/a.png", MASK, "val/labels/*.png"),
        ("images/a.png", "masks/a.png", np.stack([MASK * 255] * 3, axis=-1), "#000000"),
        ("a [1].png", "", MASK, "stability"),
    ],
)
def test_what_is_recognised(
    robspec: Run, project: Project, tmp_path: Path, images: str, masks: str, mask: np.ndarray, expected: str
) -> None:
    root = tmp_path / "set [x]"
    save(root / images, PICTURE)
    if masks:
        save(root / masks, mask.astype(np.uint8))
    done = robspec("init", project.model, root, "--output", tmp_path / "out.rspec")
    assert done.status == 0, done.err
    text = (tmp_path / "out.rspec").read_text()
    assert expected in text
    program, diagnostics = compile_text(text)
    assert program is not None
    assert not diagnostics


def test_what_init_writes_no_specification_of(robspec: Run, project: Project) -> None:
    weights, scores = project.root / "head.pt", project.root / "scores.pt2"
    torch.save(Brightness().state_dict() | {"w": torch.ones(2)}, weights)
    refused = robspec("init", weights, project.root).err
    assert "robspec export" in refused
    assert "--arch" not in refused
    export(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(2)), scores)
    refused = robspec("init", scores, project.root).err
    assert "E0209" in refused
    assert "docs/how-to/check-a-detector.md" in refused


def test_another_size_is_resized(robspec: Run, project: Project, tmp_path: Path) -> None:
    save(tmp_path / "set/images/a.png", np.kron(PICTURE, np.ones((2, 3, 1), np.uint8)))
    save(tmp_path / "set/masks/a.png", np.kron(MASK, np.ones((2, 3), np.uint8)))
    assert robspec("init", project.model, tmp_path / "set", "--output", tmp_path / "out.rspec").status == 0
    assert "resize [8, 8] by bilinear" in (tmp_path / "out.rspec").read_text()


def test_nothing_recognised(robspec: Run, project: Project, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "none"):
        done = robspec("init", project.model, folder, "--output", tmp_path / "out.rspec")
        assert done.status == 2
        assert "E0871" in done.err
        assert not (tmp_path / "out.rspec").exists()


@pytest.mark.parametrize(
    ("outputs", "labels", "expected"),
    [
        (2, ("dark", "bright"), "classes bright, dark"),
        (2, ("0", "1"), "classes class_0, class_1"),
        (1, ("bad", "good"), "annotation good | bad"),
        (1, ("0", "1"), "annotation normal | anomalous"),
        (1, None, "annotation bright | dark"),
    ],
)
def test_labels_have_names(
    robspec: Run, tmp_path: Path, outputs: int, labels: tuple[str, str] | None, expected: str
) -> None:
    """Of a table and of folders, for a classifier and for a score."""
    model = export(nn.Sequential(nn.Flatten(), nn.Linear(192, outputs)), tmp_path / "m.pt2")
    for k, side in enumerate(labels or ("dark", "bright")):
        save(tmp_path / "set" / (side if labels is None else "img") / f"{k}.png", PICTURE)
    if labels is not None:
        (tmp_path / "set/labels.csv").write_text(f"image,label\n0.png,{labels[0]}\n1.png,{labels[1]}\n")
    done = robspec("init", model, tmp_path / "set", "--output", tmp_path / "out.rspec")
    assert done.status == 0, done.err
    assert expected in " ".join((tmp_path / "out.rspec").read_text().split())


def test_doctor(robspec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
    (tmp_path / "robspec" / "opened").mkdir(parents=True)
    (tmp_path / "robspec" / "store.sqlite").write_bytes(bytes(1 << 20))
    (tmp_path / "robspec" / "opened" / "one.json").write_text("{}")
    monkeypatch.setitem(extras.EXTRAS, "plots", ("no_such_module",))
    done = robspec("doctor")
    assert done.status == 0
    for said in (package.__version__, "torch ", "reference: available", "caches", "MiB"):
        assert said in done.out
    assert f"{tmp_path / 'robspec' / 'store.sqlite'}: logits, and what attacks tried, 1 files, 1.0 MiB" in done.out
    assert "opened, 1 files, 0.0 MiB" in done.out
    assert "plots: not installed (no_such_module): pip install 'robspec[plots]'" in done.out


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    extras.require("oracle", "--cross-check")
    monkeypatch.setitem(extras.EXTRAS, "oracle", ("no_such_module",))
    with pytest.raises(MissingExtra, match="no_such_module") as caught:
        extras.require("oracle", "--cross-check")
    assert "robspec[oracle]" in caught.value.mend


def test_a_check_needs_none_of_the_extras(robspec: Run, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even their versions."""
    found = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("torch", "numpy", "numba", "sympy", "lark", "click", "rich", "jinja2", "pillow"):
            return found(name)
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    for name in sum(extras.EXTRAS.values(), ()):
        monkeypatch.setitem(sys.modules, name, None)
    done = robspec("check", project.model, project.spec, "--no-store", "--format", "json")
    assert done.status == 0, done.err
    assert "orthogonium" not in done.out


def test_the_front_end_needs_none_of_the_extras() -> None:
    """In a process of its own, where torch, numba and every extra cannot be imported."""
    barred = ["torch", "numba", "triton", "cvxpy", "orthogonium", "PIL", *sum(extras.EXTRAS.values(), ())]
    lines = [
        "import sys",
        f"sys.modules.update(dict.fromkeys({barred!r}))",
        "before = set(sys.modules)",
        "import robspec",
        "own = {m for m in set(sys.modules) - before if m.startswith('robspec')}",
        "assert own == {'robspec'}, own",
        "assert len(set(sys.modules) - before) < 12, set(sys.modules) - before",
        "from robspec.cli import main",
        "sys.argv = ['robspec', 'compile', sys.argv[1]]",
        "main()",
    ]
    spec = Path(__file__).parents[2] / "specs" / "runway" / "runway.rspec"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), str(spec)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "property accurate_under_attack" in done.stdout


def test_a_checkout_without_links_is_told(tmp_path: Path) -> None:
    (tmp_path / "grammars").write_text("../grammars")
    with pytest.raises(ImportError, match=r"core\.symlinks"):
        package._require_links(str(tmp_path))
